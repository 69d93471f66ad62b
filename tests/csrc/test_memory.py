"""Making memory ready by itself, with and without ThreadSanitizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tuning
from native_builds import ROOT, run, sanitizer_options, tool

CPU = ROOT / "csrc" / "cpu"
STRESS = ROOT / "tests" / "csrc" / "memory_stress.cpp"


@pytest.mark.parametrize("sanitizer", ["none", "thread"])
@pytest.mark.parametrize("slow", ["never", "always"])
def test_memory_under_stress(tmp_path: Path, slow: str, sanitizer: str) -> None:
    """Huge pages come slowly when a virtual machine's host provides them; here, whenever they are said to."""
    compiler = tool("c++")
    options = sanitizer_options(compiler, tmp_path, sanitizer)
    (tmp_path / "tuning.h").write_text(tuning.changed("kSlowHugePage", "0" if slow == "always" else "1e9"))
    source = shutil.copy(CPU / "memory.cpp", tmp_path)
    program = tmp_path / "memory_stress"
    sources = [STRESS, source, CPU / "pool.cpp"]
    run(compiler, "-std=c++17", "-O1", "-g", "-pthread", *options, f"-I{CPU}", *sources, "-o", program)
    asked_for, made = map(int, run(program, TSAN_OPTIONS="halt_on_error=1 exitcode=66").split())
    if asked_for < 20:
        pytest.skip("the system gives no huge pages, so none can be given up; all else is tested")
    if slow == "never":
        assert made >= 20
    else:  # those of four threads that come before anybody knows, and what the system collapses meanwhile
        assert made <= 12
