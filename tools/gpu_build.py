"""Build the native modules in place for the GPU of this machine, with what the interpreter has.

Nothing is downloaded and nothing but the modules is installed. NEGMERGE_CUDA_ARCHITECTURES overrides the
architecture, as CMake's CUDA_ARCHITECTURES (``90-real``, several with semicolons); then no GPU is needed.

    python tools/gpu_build.py
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Its own: the folder that setup.py uses has paths of another environment in its cache.
FOLDER = ROOT / "build" / "gpu" / f"cmake-{sysconfig.get_config_var('SOABI')}"
PROGRAMS = ("cmake", "ninja", "nvcc", "c++")
PACKAGES = ("numpy", "torch", "pybind11")
#: Packages for parts of what is done with the build, and what fails without them.
FURTHER = {
    "pytest": "the tests",
    "hypothesis": "the tests of values",
    "ml_dtypes": "the tests",
    "safetensors": "tests of files",
    "triton": "tests and timings of torch.compile",
}


def has(package: str) -> bool:
    """Whether a package can be imported."""
    return importlib.util.find_spec(package) is not None


def newer_pybind11() -> str | None:
    """What ``pyproject.toml`` asks for, and what there is, if that is older."""
    import pybind11

    asked = re.search(r'"pybind11>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert asked is not None
    least = tuple(map(int, asked[1].split(".")))
    if tuple(pybind11.version_info[: len(least)]) >= least:
        return None
    return f"pybind11 {asked[1]} or later (here is {pybind11.__version__})"


def check_requirements() -> None:
    """End the program if the build lacks something; say what later steps lack."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [name for name in PACKAGES if not has(name)]
    if has("pybind11") and (wanted := newer_pybind11()):
        missing.append(wanted)
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        missing.append("Python.h (the interpreter's headers)")
    if missing:
        sys.exit(
            f"missing for the build: {', '.join(missing)}. Programs are looked for in PATH, packages in this "
            "interpreter; make gpu-build WHEELS=folder lends it those of a folder of wheels"
        )
    for package, affected in FURTHER.items():
        if not has(package):
            print(f"{package} is missing: {affected} will fail")


def architectures() -> str:
    """What was asked for, or the architecture of the first GPU."""
    if given := os.environ.get("NEGMERGE_CUDA_ARCHITECTURES"):
        return given
    import torch

    if not torch.cuda.is_available():
        sys.exit("torch finds no NVIDIA GPU here; NEGMERGE_CUDA_ARCHITECTURES=90-real builds for another's")
    major, minor = torch.cuda.get_device_capability()
    print(f"{torch.cuda.get_device_name()}, sm_{major}{minor}, torch {torch.__version__}")
    return f"{major}{minor}-real"


def call(*command: object) -> None:
    """Run a command to its end; the program ends with it if it fails."""
    if code := subprocess.run([str(word) for word in command], check=False).returncode:
        sys.exit(code)


def main() -> None:
    check_requirements()
    chosen = architectures()
    import pybind11

    call(
        *("cmake", "-S", ROOT, "-B", FOLDER, "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"),
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        "-DNEGMERGE_CUDA=ON",
        f"-DNEGMERGE_CUDA_ARCHITECTURES={chosen}",
    )
    call("cmake", "--build", FOLDER)
    call("cmake", "--install", FOLDER, "--prefix", ROOT, "--strip")


if __name__ == "__main__":
    main()
