"""Workers of a device by themselves, under sanitizers."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_builds import ROOT, run, sanitizer_options, tool

NAMES = ("cuda/file_merger", "cuda/worker", "cuda/loads", "cuda/emulated", "cuda/enqueue", "cuda/table")
SOURCES = [
    *(ROOT / "tests" / "csrc" / f"{name}.cpp" for name in ("file_merger_stress", "fake_device")),
    *(ROOT / "csrc" / f"{name}.cpp" for name in (*NAMES, "cpu/pool", "files/read")),
]


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_workers_under_stress(tmp_path: Path, sanitizer: str) -> None:
    compiler = tool("c++")
    options = sanitizer_options(compiler, tmp_path, sanitizer)
    program = tmp_path / "file_merger_stress"
    flags = ("-std=c++17", "-O1", "-g", "-ffp-contract=off", "-pthread", f"-I{ROOT / 'csrc'}")
    run(compiler, *flags, *options, *SOURCES, "-o", program)
    run(program, tmp_path / "inputs", TSAN_OPTIONS="halt_on_error=1 exitcode=66")
