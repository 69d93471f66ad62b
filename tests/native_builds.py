"""Building the native sources with CMake, for tests of what the compiler made of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Where the modules in the source tree were built.
INSTALLED = ROOT / "build" / f"cmake-{sysconfig.get_config_var('SOABI')}"


def tool(name: str) -> str:
    """The path of a program beside the interpreter, in PATH or in NVIDIA's packages; else skips the test."""
    packages = Path(sysconfig.get_path("purelib"), "nvidia").glob("*/bin")
    search = [str(Path(sys.executable).parent), os.environ.get("PATH", ""), *map(str, packages)]
    found = shutil.which(name, path=os.pathsep.join(search))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: object, folder: Path | None = None, **environment: str) -> str:
    """What a command prints; its complaints are the test's if it fails."""
    words = [str(word) for word in command]
    ran = subprocess.run(
        words,
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    if ran.returncode:
        pytest.fail(
            f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout[-8000:]}\n{ran.stderr[-8000:]}"
        )
    return ran.stdout


def sanitizer_options(compiler: str, folder: Path, sanitizer: str) -> list[str]:
    """What makes ``compiler`` use a sanitizer ("none": nothing); skips the test if it has none."""
    if sanitizer == "none":
        return []
    options = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]
    if "undefined" in sanitizer:  # as in CMakeLists.txt
        options.append("-fno-sanitize=null,object-size,pointer-overflow,vptr")
    (folder / "empty.cpp").write_text("int main() {}\n")
    probe = [compiler, *options, str(folder / "empty.cpp"), "-o", str(folder / "empty")]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip(f"the compiler has no sanitizer for {sanitizer}")
    return options


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within, no other test process makes what ``path`` stands for."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(folder: Path, target: str, *options: str) -> Path:
    """Configure and build ``target`` in ``folder``, which processes may share; return the folder."""
    pybind11 = pytest.importorskip("pybind11")
    cmake, ninja = tool("cmake"), tool("ninja")
    tool("c++")
    folder.mkdir(exist_ok=True)
    with locked(folder / "build"):
        run(
            *(cmake, "-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"),
            *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"),
            *("-DNEGMERGE_CUDA=OFF", *options),
        )
        run(cmake, "--build", folder, "--target", target)
    return folder


def objects(folder: Path) -> dict[str, Path]:
    """The object files of the kernels and their dispatch by the name of their source."""
    found = {path.name.removesuffix(".cpp.o"): path for path in folder.rglob("negmerge_cpu.dir/*.cpp.o")}
    assert {"dispatch", "pool", "run", "kernel_scalar"} <= set(found)
    return found


def release(build_root: Path) -> Path:
    """A folder with the kernels' objects: that of the installation, if nothing changed since."""
    made = [path.stat().st_mtime for path in INSTALLED.rglob("negmerge_cpu.dir/*.o")]
    sources = [ROOT / "CMakeLists.txt", *(ROOT / "csrc").rglob("*")]
    if made and min(made) > max(path.stat().st_mtime for path in sources):
        return INSTALLED
    return build(build_root / "release", "negmerge_cpu")
