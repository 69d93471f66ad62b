"""Patched tensors moved in place from position to position, by the native module."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from buffers import Buffer
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import instruction_sets_in_turn
from oracle import BF16, DTYPES, E4M3, F16, F32, F64
from patched import BASE, Patched, at, rows, some_tensors
from strategies import offsets, sizes
from values import fill

from negmerge_ext import native


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=sizes(),
    dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 2),
    kind=st.sampled_from(["sprinkled", "patterns", "huge"]),
    scales=st.lists(st.sampled_from([1.0, -0.3, 0.0, 2.0**-140]), min_size=1, max_size=3),
    mode=st.sampled_from(["negate", "add"]),
    offset=offsets(),
    threads=st.sampled_from([1, 3]),
)
def test_moving_equals_merging_and_comes_back(
    seed: int,
    size: int,
    dtypes: tuple[np.dtype, ...],
    kind: str,
    scales: list[float],
    mode: str,
    offset: int,
    threads: int,
) -> None:
    base, finetuned = fill(np.random.default_rng(seed), kind, (size,), dtypes[0], (dtypes[1],) * 3)
    tensor = Patched(base, *oracle.task_vector(base, finetuned), offset)
    for _ in instruction_sets_in_turn():
        native.remember(rows([tensor]), threads=threads)
        assert tensor.remembered.array().tobytes() == base[tensor.keep].tobytes()
        place = BASE
        for scale in scales:
            assert native.move(rows([tensor]), [place], at(scale, mode), threads=threads)
            place = at(scale, mode)
            tensor.check(place)
        assert native.move(rows([tensor]), [place], BASE, threads=threads)
        assert tensor.elements.array().tobytes() == base.tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_many_tensors_at_once(instruction_set: str, threads: int) -> None:
    tensors = some_tensors(1)
    native.remember(rows(tensors), threads=threads)
    assert native.move(rows(tensors), [BASE], at(0.5), threads=threads)
    for tensor in tensors:
        tensor.check(at(0.5))
    assert native.move(rows([]), [BASE], at(1.0), threads=threads)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [E4M3, BF16, F16, F32, F64], ids=str)
def test_nothing_moves_where_an_element_is_elsewhere(
    instruction_set: str, dtype: np.dtype, threads: int
) -> None:
    base, finetuned = fill(np.random.default_rng(2), "agreeing", (70_001,), dtype, (dtype,))
    vector, keep = oracle.task_vector(base, finetuned)
    keep[:3] = [True, False, True]
    keep[-1] = True
    for index in (0, 2, int(np.flatnonzero(keep)[keep.sum() // 2]), base.size - 1):
        tensors = [*some_tensors(3), Patched(base, vector, keep)]
        native.remember(rows(tensors), threads=threads)
        assert native.move(rows(tensors), [BASE], at(0.5), threads=threads)
        changed = tensors[-1].elements.array().copy()
        changed.view(np.uint8)[index * changed.itemsize] ^= 1
        tensors[-1].elements = Buffer(changed)
        before = [tensor.elements.array() for tensor in tensors]
        assert not native.move(rows(tensors), [at(0.5)], at(2.0), threads=threads)
        for tensor, array in zip(tensors, before, strict=True):
            assert tensor.elements.array().tobytes() == array.tobytes()


def test_what_is_not_kept_may_be_anything(instruction_set: str) -> None:
    base = np.arange(100, dtype=np.float32)
    keep = np.arange(100) % 3 == 0
    tensor = Patched(base, np.ones(100, np.float32), keep)
    native.remember(rows([tensor]))
    assert native.move(rows([tensor]), [BASE], at(1.0))
    changed = tensor.elements.array().copy()
    changed[1] = np.nan
    tensor.elements = Buffer(changed)
    assert native.move(rows([tensor]), [at(1.0)], at(2.0))
    expected = np.where(keep, base - 2, base)
    expected[1] = np.nan
    assert np.array_equal(tensor.elements.array(), expected, equal_nan=True)


def test_elements_may_come_from_two_positions(instruction_set: str) -> None:
    """As they do after a move that was cut short."""
    tensors = some_tensors(4)
    native.remember(rows(tensors))
    assert native.move(rows(tensors), [BASE], at(0.5))
    assert native.move(rows(tensors[::2]), [at(0.5)], at(1.0))
    assert not native.move(rows(tensors), [at(0.5), at(2.0)], at(3.0))
    assert native.move(rows(tensors[::2]), [at(1.0), at(0.5)], at(1.0))
    assert native.move(rows(tensors), [at(0.5), at(1.0)], at(3.0))
    for tensor in tensors:
        tensor.check(at(3.0))


def test_bits_beyond_the_last_element_are_ignored(instruction_set: str) -> None:
    tensor = Patched(np.zeros(3, F32), np.ones(3, F32), np.ones(3, bool))
    tensor.bits = Buffer(np.full(2, 0xFF, np.uint8))
    native.remember(rows([tensor]))
    assert native.move(rows([tensor]), [BASE], at(2.0, "add"))
    assert tensor.elements.array().tolist() == [2, 2, 2]
    tensor.check(at(2.0, "add"))


def test_refuses_what_is_no_move() -> None:
    tensor = Patched(np.zeros(3, F64), np.ones(3, F32), np.ones(3, bool))
    with pytest.raises(ValueError, match="F64"):
        native.move(rows([tensor]), [BASE], at(1.0))
    with pytest.raises(ValueError, match="position"):
        native.move(rows([]), [], at(1.0))
    with pytest.raises(ValueError, match="added or subtracted"):
        native.move(rows([]), [BASE], at(1.0, "vector"))
    with pytest.raises(ValueError, match="PATCHED"):
        native.move(np.zeros(3), [BASE], at(1.0))
    with pytest.raises(ValueError, match="PATCHED"):
        native.move(np.zeros(1, f"V{native.PATCHED.itemsize}"), [BASE], at(1.0))
