"""The thread pool by itself, with and without ThreadSanitizer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from native_builds import ROOT, run, tool

SOURCES = [ROOT / "tests" / "csrc" / "pool_stress.cpp", ROOT / "csrc" / "cpu" / "pool.cpp"]


@pytest.mark.parametrize("sanitizer", ["none", "thread"])
def test_pool_under_stress(tmp_path: Path, sanitizer: str) -> None:
    compiler = tool("c++")
    options = [] if sanitizer == "none" else [f"-fsanitize={sanitizer}"]
    if options:
        (tmp_path / "empty.cpp").write_text("int main() {}\n")
        probe = [compiler, *options, str(tmp_path / "empty.cpp"), "-o", str(tmp_path / "empty")]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip("the compiler has no ThreadSanitizer")
    program = tmp_path / "pool_stress"
    run(compiler, "-std=c++17", "-O1", "-g", "-pthread", *options, *SOURCES, "-o", program)
    run(program, TSAN_OPTIONS="halt_on_error=1 exitcode=66")
