"""The module on a CPU without AVX, which QEMU emulates: it loads, and merges with plain code."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import oracle
import pytest

PROGRAM = """
import sys
sys.path[:0] = {path!r}
import numpy as np
from negmerge_ext import native, stats
assert native.instruction_sets() == ("scalar",), native.instruction_sets()
arrays = [np.ascontiguousarray(row) for row in np.load({inputs!r})]
out, rows = np.empty_like(arrays[0]), np.zeros(1, stats.NATIVE_STATS)
address = [array.ctypes.data for array in arrays]
native.merge(method=0, mode=0, scale=0.5, models=len(arrays) - 1, numel=[out.size], compute=[1],
             base=address[:1], base_dtype=[1], finetuned=address[1:], finetuned_dtype=[1] * (len(arrays) - 1),
             out=[out.ctypes.data], out_dtype=[1], stats=rows, threads=2)
np.save({outputs!r}, out)
"""


def test_runs_without_avx(tmp_path: Path) -> None:
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("qemu-x86_64 (Debian's qemu-user) is not installed")
    rng = np.random.default_rng(0)
    arrays = rng.standard_normal((4, 40001)).astype(np.float32)
    np.save(tmp_path / "inputs.npy", arrays)
    program = PROGRAM.format(
        path=sys.path, inputs=str(tmp_path / "inputs.npy"), outputs=str(tmp_path / "outputs.npy")
    )
    interpreter = Path(sys.executable).resolve()
    subprocess.run([qemu, "-cpu", "Nehalem", interpreter, "-c", program], check=True, timeout=300)

    expected = oracle.merge(arrays[0], list(arrays[1:]), scale=0.5)
    assert oracle.same_bits(np.load(tmp_path / "outputs.npy"), expected)
