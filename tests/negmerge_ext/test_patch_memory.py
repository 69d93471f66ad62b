"""Peak memory of making and applying patches out of core, held against ``max_memory``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pools import write_file
from programs import start_program

_PROGRAM = """
import sys
from pathlib import Path
from negmerge_ext.patch import Patch

def peak():
    # Unlike ru_maxrss, this starts anew when a process begins a program.
    lines = Path("/proc/self/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return 1024 * int(peak)

folder, max_memory = Path(sys.argv[1]), int(sys.argv[2])
base, finetuned, patch = folder / "base.safetensors", folder / "finetuned.safetensors", folder / "a.patch"
before = peak()
made = Patch.make(base, [finetuned] * 3, method="uniform", out=patch, max_memory=max_memory, threads=2)
made.apply_to_file(base, folder / "out.safetensors", max_memory=max_memory, threads=2)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_peak_memory_stays_below_max_memory(tmp_path: Path) -> None:
    max_memory = 24 << 20
    base = {"larger than the budget": np.zeros((9_000, 1_000), np.float32), "small": np.ones(77, np.float32)}
    write_file(tmp_path / "base.safetensors", base)
    write_file(tmp_path / "finetuned.safetensors", {name: array + 1 for name, array in base.items()})
    process = start_program(_PROGRAM, str(tmp_path), str(max_memory))
    found, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert (tmp_path / "a.patch").stat().st_size > max_memory
    assert int(found) <= max_memory
