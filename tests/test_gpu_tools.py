"""What make gpu-check runs, as far as it goes without a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from native_builds import tool
from programs import import_path

ROOT = Path(__file__).resolve().parents[1]

#: In place of compute-sanitizer: tells what it is called with, and finds what a file beside it says.
STAND_IN = """#!/bin/sh
case "$*" in
--help) echo "  --kernel-name arg" ;;
*--past-the-end*) cat "$(dirname "$0")/finding"; exit 86 ;;
*) echo "called with $*" | sed "s|[^ ]*/||g"; case "$*" in *$FAILING*) exit 86 ;; esac ;;
esac
"""


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
    """A search path with a tool that sees writes past the end."""
    program = tmp_path / "compute-sanitizer"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    (tmp_path / "finding").write_text("Invalid __global__ write of size 16 bytes\n")
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
    (toolkit / "bin" / "nvcc").touch(0o755)
    (elsewhere / "nvcc").symlink_to(toolkit / "bin" / "nvcc")
    for name in ("compute-sanitizer", "finding"):
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


def test_a_finding_fails(with_stand_in: str) -> None:
    done = start("tools/gpu_sanitize.py", path=with_stand_in, FAILING="racecheck")
    assert done.returncode == 1
    assert "memcheck: passed" in done.stdout
    assert "racecheck: exit 86" in done.stdout
    assert done.stderr == "failed: racecheck\n"


def test_a_sanitizer_that_sees_nothing_is_noticed(with_stand_in: str, tmp_path: Path) -> None:
    (tmp_path / "finding").write_text("no CUDA device\n")
    done = start("tools/gpu_sanitize.py", path=with_stand_in, FAILING="nothing")
    assert done.returncode == 1
    assert "no CUDA device" in done.stdout
    assert "memcheck does not find a write past the end" in done.stderr


@pytest.mark.slow
def test_the_program_for_the_sanitizer() -> None:
    done = start("tests/gpu/under_sanitizer.py", "--device", "cpu", path=os.environ["PATH"])
    assert done.returncode == 0, done.stderr
    parts = ["merges", "mixed_dtypes", "statistics", "accumulators", "patches", "files"]
    assert done.stdout.splitlines() == [f"{part}: as on the CPU" for part in parts]


def test_what_the_build_lacks_is_told(tmp_path: Path) -> None:
    done = start("tools/gpu_build.py", path=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("missing for the build: cmake, ninja, nvcc, c++")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_build_for_no_gpu_is_refused() -> None:
    folders = {str(Path(tool(name)).parent) for name in ("cmake", "ninja", "nvcc", "c++")}
    path = os.pathsep.join([*sorted(folders), os.environ["PATH"]])
    done = start("tools/gpu_build.py", path=path, NEGMERGE_CUDA_ARCHITECTURES="")
    assert done.returncode == 1
    assert "torch finds no NVIDIA GPU here; NEGMERGE_CUDA_ARCHITECTURES=90-real" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("target", ["gpu-test", "gpu-bench"])
def test_without_a_gpu_the_target_fails(target: str) -> None:
    words = [tool("make"), "-s", target, f"PYTHON={sys.executable}", "QUICK=1"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "an NVIDIA GPU is needed: torch finds none here" in done.stderr
