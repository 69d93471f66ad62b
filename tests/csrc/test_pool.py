"""The thread pool by itself, with and without ThreadSanitizer."""

from __future__ import annotations

from pathlib import Path

import pytest
from native_builds import ROOT, run, sanitizer_options, tool

SOURCES = [ROOT / "tests" / "csrc" / "pool_stress.cpp", ROOT / "csrc" / "cpu" / "pool.cpp"]


@pytest.mark.parametrize("sanitizer", ["none", "thread"])
def test_pool_under_stress(tmp_path: Path, sanitizer: str) -> None:
    compiler = tool("c++")
    options = sanitizer_options(compiler, tmp_path, sanitizer)
    program = tmp_path / "pool_stress"
    run(compiler, "-std=c++17", "-O1", "-g", "-pthread", *options, *SOURCES, "-o", program)
    run(program, TSAN_OPTIONS="halt_on_error=1 exitcode=66")
