"""Run tests/gpu/under_sanitizer.py under compute-sanitizer: memcheck, then racecheck.

Before that, each must find what is there to be found: memcheck a merge that is told to write past its output,
racecheck the kernel of tests/csrc/race.cu. A check that does not is one that would find nothing.

    python tools/gpu_sanitize.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
PROGRAM = TESTS / "gpu" / "under_sanitizer.py"
RACE = TESTS / "csrc" / "race.cu"
#: What the tool exits with when it finds something.
FOUND = 86
#: Every tensor is an allocation of its own: the tool knows nothing of pieces of a larger one.
ENVIRONMENT = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}


def find_tool() -> str:
    """The path of compute-sanitizer, which may lie beside nvcc; ends the program if there is none."""
    places = [os.environ.get("PATH", "")]
    if nvcc := shutil.which("nvcc"):
        binaries = Path(nvcc).resolve().parent
        places += [str(binaries), str(binaries.parent / "compute-sanitizer")]
    found = shutil.which("compute-sanitizer", path=os.pathsep.join(places))
    if found is None:
        sys.exit(
            "nothing is checked: compute-sanitizer is found neither in PATH nor beside nvcc. "
            "It comes with the CUDA toolkit (package cuda-sanitizer); CUDA_HOME tells make where"
        )
    return found


def compile_race(folder: Path) -> Path:
    """The program of :data:`RACE` for the GPU of this machine; ends the program without nvcc."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        sys.exit("nothing is checked: nvcc, which compiles a race to be found, is not in PATH")
    program = folder / "race"
    made = subprocess.run(
        [nvcc, "-std=c++17", "-arch=native", "-lineinfo", str(RACE), "-o", str(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        sys.exit(f"nothing is checked: {RACE.name} cannot be compiled\n{made.stdout}{made.stderr}")
    return program


def command(tool: str, check: str, *program: object) -> list[str]:
    """A program under one check."""
    words = [tool, "--tool", check, "--error-exitcode", str(FOUND), "--print-limit", "10"]
    listed = subprocess.run([tool, "--help"], capture_output=True, text=True, check=False).stdout
    if "--kernel-name" in listed:  # torch's own kernels are not what is checked, and take time
        words += ["--kernel-name", "kns=negmerge"]
    if "--padding" in listed and check == "memcheck":  # so that no neighbour lies where an allocation ends
        words += ["--padding", "64"]
    if "--report-api-errors" in listed and check == "memcheck":  # CUDA's libraries try what may not be there
        words += ["--report-api-errors", "no"]
    return [*words, *map(str, program)]


def run(words: Sequence[str]) -> int:
    """Run to the end and return the exit status."""
    return subprocess.run(words, env=os.environ | ENVIRONMENT, check=False).returncode


def must_find(words: Sequence[str], message: str, otherwise: str) -> None:
    """End the program unless a fault that is there is found, with ``message`` in what is printed."""
    done = subprocess.run(
        words,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != FOUND or message not in done.stdout:
        print(done.stdout[-4000:], flush=True)
        sys.exit(f"nothing is checked: {otherwise}")


def main() -> None:
    tool = find_tool()
    checked = (sys.executable, "-u", PROGRAM)
    must_find(
        command(tool, "memcheck", *checked, "--past-the-end"),
        "Invalid __global__ write",
        "memcheck does not find a write past the end of an output",
    )
    with tempfile.TemporaryDirectory() as folder:
        must_find(
            command(tool, "racecheck", compile_race(Path(folder))),
            "Race reported",
            "racecheck does not find a race between threads of a block",
        )
    failed = []
    for check in ("memcheck", "racecheck"):
        begin = time.monotonic()
        status = run(command(tool, check, *checked))
        print(
            f"{check}: {'passed' if status == 0 else f'exit {status}'}, {time.monotonic() - begin:.0f} s",
            flush=True,
        )
        if status:
            failed.append(check)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
