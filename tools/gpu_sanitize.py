"""Run tests/gpu/under_sanitizer.py under compute-sanitizer: memcheck, then racecheck.

Before that, a merge that is told to write past its output must be found: if it is not, the tool does not see
these kernels.

    python tools/gpu_sanitize.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "tests" / "gpu" / "under_sanitizer.py"
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


def command(tool: str, check: str, *arguments: str) -> list[str]:
    """The program under one check."""
    words = [tool, "--tool", check, "--error-exitcode", str(FOUND), "--print-limit", "10"]
    listed = subprocess.run([tool, "--help"], capture_output=True, text=True, check=False).stdout
    if "--kernel-name" in listed:  # torch's own kernels are not what is checked, and take time
        words += ["--kernel-name", "kns=negmerge"]
    if "--padding" in listed and check == "memcheck":  # so that no neighbour lies where an allocation ends
        words += ["--padding", "64"]
    return [*words, sys.executable, "-u", str(PROGRAM), *arguments]


def run(words: Sequence[str], *, quiet: bool = False) -> int:
    """Run to the end and return the exit status; quiet: what is printed is shown only if it is needed."""
    done = subprocess.run(
        words,
        env=os.environ | ENVIRONMENT,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    if quiet and "Invalid __global__ write" not in done.stdout:
        print(done.stdout[-4000:])
        return 0
    return done.returncode


def main() -> None:
    tool = find_tool()
    if run(command(tool, "memcheck", "--past-the-end"), quiet=True) == 0:
        sys.exit("nothing is checked: memcheck does not find a write past the end of an output")
    failed = []
    for check in ("memcheck", "racecheck"):
        begin = time.monotonic()
        status = run(command(tool, check))
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
