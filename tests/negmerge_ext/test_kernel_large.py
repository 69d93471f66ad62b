"""Tensors of more than 2^31 elements: no index, offset or count is a 32-bit number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
import pytest
from kernel_calls import code
from oracle import E5M2
from values import fill

from negmerge_ext import native
from negmerge_ext.methods import get as get_method
from negmerge_ext.options import MODES
from negmerge_ext.stats import NATIVE_STATS

NUMEL = 2**31 + 3 * native.BLOCK + 5
WINDOWS = [slice(0, 3000), slice(2**31 - 1501, 2**31 + 1500), slice(NUMEL - 3001, NUMEL)]


def available_gib() -> float:
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    kib = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kib[0] / 2**20 if kib else 0.0


@pytest.mark.slow
@pytest.mark.skipif(available_gib() < 8, reason="needs 8 GiB of free memory")
def test_more_than_two_to_the_31_elements() -> None:
    rng = np.random.default_rng(13)
    base, theta = np.zeros(NUMEL, E5M2), np.zeros(NUMEL, E5M2)
    for window in WINDOWS:
        small, (changed,) = fill(rng, "agreeing", (window.stop - window.start,), E5M2, (E5M2,))
        base[window], theta[window] = small, changed
    out = np.empty(NUMEL, E5M2)
    keep = np.empty(-(-NUMEL // 16), np.uint16)
    stats, histogram = np.zeros(1, NATIVE_STATS), np.zeros((1, 2), np.int64)
    native.merge(
        method=get_method("negmerge").code,
        mode=MODES["negate"],
        scale=0.5,
        models=1,
        numel=[NUMEL],
        compute=[code(oracle.F32)],
        base=[base.ctypes.data],
        base_dtype=[code(E5M2)],
        finetuned=[theta.ctypes.data],
        finetuned_dtype=[code(E5M2)],
        out=[out.ctypes.data],
        out_dtype=[code(E5M2)],
        stats=stats,
        keep=[keep.ctypes.data],
        histogram=histogram,
        threads=2,
    )
    kept = written = 0
    squares = 0.0
    for window in WINDOWS:
        expected = oracle.merge(base[window], [theta[window]], scale=0.5)
        assert oracle.same_bits(out[window], expected)
        found = oracle.statistics(base[window], [theta[window]])
        kept, squares = kept + found.kept, squares + found.norm**2
        written += np.count_nonzero(oracle.bits(expected))
    assert np.count_nonzero(out.view(np.uint8)) == written
    assert stats["kept"] == kept
    assert stats["sum_squares"][0] == pytest.approx(squares, rel=1e-12)
    assert histogram.tolist() == [[NUMEL - kept, kept]]
    assert native.count(NUMEL, keep.ctypes.data) == kept

    packed = np.empty(kept, np.uint8)
    assert native.gather(NUMEL, 1, theta.ctypes.data, keep.ctypes.data, packed.ctypes.data) == kept
    last = WINDOWS[-1]
    _, kept_last = oracle.task_vector(base[last], [theta[last]])
    assert np.array_equal(packed[-np.count_nonzero(kept_last) :], oracle.bits(theta[last])[kept_last])
