"""Sparse vectors: counting, packing, unpacking and applying, against numpy."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from buffers import Buffer
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import code, instruction_sets_in_turn, packed_bits
from oracle import BF16, DTYPES, F16, F32, F64
from strategies import offsets, sizes
from values import fill

from negmerge_ext import native
from negmerge_ext.options import MODES


def random_keep(seed: int, size: int) -> np.ndarray:
    """Dense, sparse, empty and full stretches of 100 elements."""
    rng = np.random.default_rng(seed)
    share = rng.choice([0.0, 0.03, 0.5, 1.0], size=size // 100 + 1)
    return rng.random(size) < np.repeat(share, 100)[:size]


def apply(
    base: np.ndarray,
    vector: np.ndarray,
    keep: np.ndarray,
    *,
    mode: str,
    scale: float,
    out_dtype: np.dtype,
    in_place: bool = False,
    offset: int = 0,
    threads: int = 1,
    cut: int | None = None,
) -> np.ndarray:
    """``native.apply_patch`` on guarded buffers, cut after every ``cut`` elements."""
    start, bits = Buffer(base, offset), Buffer(packed_bits(keep), offset % 8)
    values = Buffer(vector[keep], (3 * offset) % 64)
    out = start if in_place else Buffer.unwritten(base.size, out_dtype, (5 * offset) % 64)
    step = cut or max(base.size, 1)
    for first in range(0, base.size, step):
        native.apply_patch(
            mode=MODES[mode],
            scale=scale,
            numel=min(step, base.size - first),
            compute=code(vector.dtype),
            base=start.address + first * base.itemsize,
            base_dtype=code(base.dtype),
            out=out.address + first * out_dtype.itemsize,
            out_dtype=code(out_dtype),
            keep=bits.address + first // 8,
            values=values.address + int(keep[:first].sum()) * vector.itemsize,
            threads=threads,
        )
    for buffer in (start, bits, values, out):
        buffer.check_guards()
    return out.array().reshape(base.shape)


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=sizes(),
    dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 3),
    kind=st.sampled_from(["sprinkled", "patterns", "huge"]),
    mode=st.sampled_from(["negate", "add"]),
    scale=st.sampled_from([1.0, -0.3, 0.0, 2.0**-140]),
    offset=offsets(),
    threads=st.sampled_from([1, 3]),
)
def test_applying_equals_merging(
    seed: int,
    size: int,
    dtypes: tuple[np.dtype, ...],
    kind: str,
    mode: str,
    scale: float,
    offset: int,
    threads: int,
) -> None:
    base, finetuned = fill(np.random.default_rng(seed), kind, (size,), dtypes[0], (dtypes[1],) * 3)
    vector, keep = oracle.task_vector(base, finetuned)
    expected = oracle.merge(base, finetuned, mode=mode, scale=scale, out_dtype=dtypes[2])
    for _ in instruction_sets_in_turn():
        found = apply(
            base, vector, keep, mode=mode, scale=scale, out_dtype=dtypes[2], offset=offset, threads=threads
        )
        assert oracle.same_bits(found, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_in_place_only_what_is_kept_changes(instruction_set: str, dtype: np.dtype) -> None:
    rng = np.random.default_rng(9)
    base, finetuned = fill(rng, "patterns", (40_003,), dtype, (dtype,) * 2)
    vector, keep = oracle.task_vector(base, finetuned)
    expected = oracle.apply(base, vector, keep, mode="add", scale=0.5)
    for threads in (1, 2):
        found = apply(
            base, vector, keep, mode="add", scale=0.5, out_dtype=dtype, in_place=True, threads=threads
        )
        assert oracle.same_bits(found, expected)
        assert np.array_equal(oracle.bits(found)[~keep], oracle.bits(base)[~keep])


@pytest.mark.parametrize("cut", [16, 4096, 16_384 + 16])
def test_cuts(instruction_set: str, cut: int) -> None:
    base, (theta,) = fill(
        np.random.default_rng(10), "agreeing", (50_001 if cut > 16 else 1001,), BF16, (F32,)
    )
    vector, _ = oracle.task_vector(base, [theta])
    keep = random_keep(10, base.size)
    found = apply(base, vector, keep, mode="negate", scale=0.7, out_dtype=F16, threads=2, cut=cut)
    assert oracle.same_bits(found, oracle.apply(base, vector, keep, mode="negate", scale=0.7, out_dtype=F16))


def test_bits_beyond_the_last_element_are_ignored(instruction_set: str) -> None:
    """A damaged or hostile patch cannot reach beyond the tensor, whatever its padding says."""
    base, values, bits = Buffer(np.zeros(3, F32)), Buffer(np.ones(3, F32)), Buffer(np.full(2, 0xFF, np.uint8))
    packed = Buffer.unwritten(3, F32)
    assert native.count(3, bits.address) == 3
    assert native.kept_before(3, bits.address).tolist() == [0, 3]
    assert native.gather(3, 4, base.address, bits.address, packed.address) == 3
    native.apply_patch(
        mode=MODES["add"],
        scale=2.0,
        numel=3,
        compute=code(F32),
        base=base.address,
        base_dtype=code(F32),
        out=base.address,
        out_dtype=code(F32),
        keep=bits.address,
        values=values.address,
        threads=1,
    )
    assert base.array().tolist() == [2, 2, 2]
    for buffer in (base, values, packed):
        buffer.check_guards()


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=sizes(),
    dtype=st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]),
    offset=offsets(),
)
def test_gather_and_count(seed: int, size: int, dtype: type, offset: int) -> None:
    rng, itemsize = np.random.default_rng(seed), np.dtype(dtype).itemsize
    dense = rng.integers(0, np.iinfo(dtype).max, size, dtype)
    keep = random_keep(seed, size)
    source, bits = Buffer(dense, offset), Buffer(packed_bits(keep), offset % 8)
    before = [keep[:first].sum() for first in range(0, size, native.BLOCK)]
    for _ in instruction_sets_in_turn():
        packed = Buffer.unwritten(int(keep.sum()), dtype, (offset * 3) % 64)
        assert native.count(size, bits.address) == keep.sum()
        assert native.kept_before(size, bits.address).tolist() == [*before, keep.sum()]
        assert native.gather(size, itemsize, source.address, bits.address, packed.address) == keep.sum()
        assert np.array_equal(packed.array(), dense[keep])
        for buffer in (source, bits, packed):
            buffer.check_guards()


def test_counting_in_parts() -> None:
    keep = random_keep(11, 1003)
    bits = Buffer(packed_bits(keep))
    parts = [native.count(min(48, 1003 - i), bits.address + i // 8) for i in range(0, 1003, 48)]
    assert sum(parts) == keep.sum()


@pytest.mark.parametrize("itemsize", [0, 3, 16])
def test_item_sizes_that_no_dtype_has(itemsize: int) -> None:
    with pytest.raises(ValueError, match="item size"):
        native.gather(0, itemsize, 0, 0, 0)


def test_a_patch_in_double_precision(instruction_set: str) -> None:
    base, finetuned = fill(np.random.default_rng(12), "sprinkled", (3000,), F64, (F32, F64))
    vector, keep = oracle.task_vector(base, finetuned)
    assert vector.dtype == F64
    for out_dtype in DTYPES:
        found = apply(base, vector, keep, mode="negate", scale=1e-3, out_dtype=out_dtype)
        expected = oracle.apply(base, vector, keep, mode="negate", scale=1e-3, out_dtype=out_dtype)
        assert oracle.same_bits(found, expected)
