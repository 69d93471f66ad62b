"""Making memory ready and copying it, natively."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmerge_ext import native

MIB = 1 << 20


def addresses(arrays: list[np.ndarray]) -> np.ndarray:
    return np.array([array.ctypes.data for array in arrays], np.int64)


@pytest.mark.parametrize("threads", [1, 3])
def test_populating_leaves_every_byte_as_it_is(threads: int) -> None:
    written = np.arange(5 * MIB, dtype=np.int64)
    around, small = np.arange(64, dtype=np.uint8), np.arange(10)
    fresh = np.empty(9 * MIB + 5, np.uint8)[3:]
    before = written.copy()
    arrays = [written, small, fresh, around[1:-1], around[:0]]
    native.populate(addresses(arrays), np.array([array.nbytes for array in arrays]), threads)
    assert np.array_equal(written, before)
    assert around.tolist() == list(range(64))
    assert small.tolist() == list(range(10))
    fresh[:] = 1
    assert fresh.all()


@given(st.lists(st.integers(0, 300), max_size=6), st.sampled_from([1, 2, 5]))
def test_copies_are_exact(sizes: list[int], threads: int) -> None:
    rng = np.random.default_rng(len(sizes))
    sources = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    rooms = [np.full(size + 2, 7, np.uint8) for size in sizes]
    inner = [room[1:-1] for room in rooms]
    native.copy(addresses(sources), addresses(inner), np.array(sizes, np.int64), threads)
    for source, room in zip(sources, rooms, strict=True):
        assert room.tolist() == [7, *source.tolist(), 7]


def test_large_copies_are_exact() -> None:
    source = np.random.default_rng(0).integers(0, 256, 33 * MIB + 3, np.uint8)
    destination = np.zeros_like(source)
    native.copy(addresses([source]), addresses([destination]), np.array([source.nbytes]), 2)
    assert np.array_equal(source, destination)


def test_sizes_are_checked() -> None:
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="length"):
        native.populate(one, two)
    with pytest.raises(ValueError, match="negative"):
        native.populate(one, one - 1)
    with pytest.raises(ValueError, match="length"):
        native.copy(one, two, two)
