"""What make gpu-check runs, as far as it goes without a GPU."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from cuda_calls import kernels_not_launched
from native_builds import tool
from programs import import_path
from stand_in_devices import StandInDevices

ROOT = Path(__file__).resolve().parents[1]

#: In place of compute-sanitizer: tells what it is called with, and finds what files beside it say.
STAND_IN = """#!/bin/sh
here=$(dirname "$0")
case "$*" in
--help) echo "  --kernel-name arg, --report-api-errors arg" ;;
*memcheck*--past-the-end) cat "$here/memcheck"; exit 86 ;;
*racecheck*/race) cat "$here/racecheck"; exit 86 ;;
*) echo "called with $*" | sed "s|[^ ]*/||g"; case "$*" in *$FAILING*) exit 86 ;; esac ;;
esac
"""
#: What it finds where there is something, by check.
FINDINGS = {
    "memcheck": "Invalid __global__ write of size 16 bytes",
    "racecheck": "Error: Race reported between Write access and Read access",
}


def start(*words: str, path: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": import_path(), "PATH": str(path)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def with_stand_in(tmp_path: Path) -> str:
    """A search path with a tool that finds what it is shown, and an nvcc."""
    for name, text in (("compute-sanitizer", STAND_IN), ("nvcc", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for check, finding in FINDINGS.items():
        (tmp_path / check).write_text(f"{finding}\n")
    return os.pathsep.join([str(tmp_path), os.environ["PATH"]])


def test_a_missing_sanitizer_is_told(tmp_path: Path) -> None:
    done = start("tools/gpu_sanitize.py", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "nothing is checked: compute-sanitizer is found neither in PATH nor beside nvcc"
    )


def test_a_sanitizer_beside_nvcc_is_found(with_stand_in: str, tmp_path: Path) -> None:
    toolkit, elsewhere = tmp_path / "toolkit", tmp_path / "elsewhere"
    for folder in (toolkit / "bin", toolkit / "compute-sanitizer", elsewhere):
        folder.mkdir(parents=True)
    (tmp_path / "nvcc").rename(toolkit / "bin" / "nvcc")
    (elsewhere / "nvcc").symlink_to(toolkit / "bin" / "nvcc")
    for name in ("compute-sanitizer", *FINDINGS):
        (tmp_path / name).rename(toolkit / "compute-sanitizer" / name)
    path = os.pathsep.join([str(elsewhere), "/bin", "/usr/bin"])
    done = start("tools/gpu_sanitize.py", path=path, FAILING="nothing")
    assert done.returncode == 0, done.stderr


def test_both_checks_are_run(with_stand_in: str) -> None:
    done = start("tools/gpu_sanitize.py", path=with_stand_in, FAILING="nothing")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    options = "--error-exitcode 86 --print-limit 10 --kernel-name kns=negmerge"
    assert [line.rpartition(", ")[0] or line.partition(options)[0] for line in lines] == [
        "called with --tool memcheck ",
        "memcheck: passed",
        "called with --tool racecheck ",
        "racecheck: passed",
    ]
    assert all("under_sanitizer.py" in line for line in lines[::2])
    assert ["--report-api-errors no" in line for line in lines[::2]] == [True, False]


def test_a_finding_fails(with_stand_in: str) -> None:
    done = start("tools/gpu_sanitize.py", path=with_stand_in, FAILING="racecheck")
    assert done.returncode == 1
    assert "memcheck: passed" in done.stdout
    assert "racecheck: exit 86" in done.stdout
    assert done.stderr == "failed: racecheck\n"


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("memcheck", "memcheck does not find a write past the end"),
        ("racecheck", "racecheck does not find a race"),
    ],
)
def test_a_check_that_sees_nothing_is_noticed(
    with_stand_in: str, tmp_path: Path, check: str, message: str
) -> None:
    (tmp_path / check).write_text("no CUDA device\n")
    done = start("tools/gpu_sanitize.py", path=with_stand_in, FAILING="nothing")
    assert done.returncode == 1
    assert "no CUDA device" in done.stdout
    assert f"nothing is checked: {message}" in done.stderr
    assert "passed" not in done.stdout


def test_a_race_that_cannot_be_compiled_is_told(with_stand_in: str, tmp_path: Path) -> None:
    (tmp_path / "nvcc").write_text("#!/bin/sh\necho no such architecture >&2; exit 1\n")
    done = start("tools/gpu_sanitize.py", path=with_stand_in, FAILING="nothing")
    assert done.returncode == 1
    assert "race.cu cannot be compiled\nno such architecture" in done.stderr


@pytest.mark.slow
def test_the_program_for_the_sanitizer() -> None:
    done = start("tests/gpu/under_sanitizer.py", "--device", "cpu", path=os.environ["PATH"])
    assert done.returncode == 0, done.stderr
    parts = ["merges", "mixed_dtypes", "statistics", "accumulators", "methods", "patches", "files"]
    assert done.stdout.splitlines() == [f"{part}: as on the CPU" for part in parts]


@pytest.mark.slow
def test_the_sanitizers_see_every_kernel(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    devices = StandInDevices()
    devices.install(monkeypatch, emulated_cuda)
    program = runpy.run_path(str(ROOT / "tests" / "gpu" / "under_sanitizer.py"))
    moved = program["moved"]
    program["merges"].__globals__["moved"] = lambda state, device: devices.put_all(moved(state, "cpu"))
    kernels_not_launched(emulated_cuda)  # forgets those of other tests
    for part in program["PARTS"]:
        part("cuda:0")
    assert kernels_not_launched(emulated_cuda) == []


def test_what_the_build_lacks_is_told(tmp_path: Path) -> None:
    done = start("tools/gpu_build.py", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("missing for the build: cmake, ninja, nvcc, c++")


def test_an_old_pybind11_is_told(tmp_path: Path) -> None:
    (tmp_path / "pybind11.py").write_text('__version__, version_info = "2.13.6", (2, 13, 6)')
    found = os.pathsep.join([str(tmp_path), import_path()])
    done = start("tools/gpu_build.py", path=tmp_path, PYTHONPATH=found)
    assert done.returncode == 1
    assert "pybind11 3.0 or later (here is 2.13.6)" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_build_for_no_gpu_is_refused() -> None:
    folders = {str(Path(tool(name)).parent) for name in ("cmake", "ninja", "nvcc", "c++")}
    path = os.pathsep.join([*sorted(folders), os.environ["PATH"]])
    done = start("tools/gpu_build.py", path=path, NEGMERGE_CUDA_ARCHITECTURES="")
    assert done.returncode == 1
    assert "torch finds no NVIDIA GPU here; NEGMERGE_CUDA_ARCHITECTURES=90-real" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("target", ["gpu-test", "gpu-bench", "reproduce-cifar10"])
def test_without_a_gpu_the_target_fails(target: str) -> None:
    words = [tool("make"), "-s", target, f"PYTHON={sys.executable}", "QUICK=1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "an NVIDIA GPU is needed: torch finds none here" in done.stderr


def test_what_the_reproduction_runs() -> None:
    words = [
        tool("make"),
        "-n",
        "reproduce-cifar10",
        "PYTHON=python-with-torch",
        "WHEELS=lent",
        "DATA=carried",
    ]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.replace("\\\n", "").splitlines() if "python-with-torch" in line]
    # What the package is asked comes after it is built.
    order = ["is_available()", "lent/*.whl", "tools/gpu_build.py", "gpu.require()", "-m negmerge unlearn"]
    assert [next(word for word in order if word in line) for line in lines] == order
    assert 'paper/cifar10-resnet18-random --out "runs/cifar10-resnet18-random"' in lines[-1]


def test_results_go_where_they_are_asked_for() -> None:
    words = [tool("make"), "-n", "gpu-bench", f"PYTHON={sys.executable}", "GPU_BENCH=gpu_files"]
    usual, asked = (
        subprocess.run([*words, *more], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for more in ([], ["GPU_RESULTS=/some where"])
    )
    assert "--out" not in usual
    assert '--out "/some where/$name.json"' in asked
