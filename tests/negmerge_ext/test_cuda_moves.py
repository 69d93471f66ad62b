"""Patched tensors moved in place by the CUDA kernels, run on the host."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import oracle
import pytest
from buffers import Buffer
from cuda_calls import Moves, turned_round
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import BF16, DTYPES, E4M3, F16, F32, F64
from patched import BASE, Patched, at, rows, some_tensors
from strategies import sizes
from values import fill

from negmerge_ext import native


@pytest.fixture(scope="session")
def cuda(emulated_cuda: ModuleType) -> Moves:
    return Moves(emulated_cuda)


@examples(40)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=sizes(20_000),
    dtypes=st.tuples(*[st.sampled_from(DTYPES)] * 2),
    kind=st.sampled_from(["sprinkled", "patterns", "huge"]),
    scales=st.lists(st.sampled_from([1.0, -0.3, 0.0, 2.0**-140]), min_size=1, max_size=3),
    mode=st.sampled_from(["negate", "add"]),
    offset=st.sampled_from([0, 8, 40]),
    turned=st.booleans(),
)
def test_moving_equals_merging_and_comes_back(
    cuda: Moves,
    seed: int,
    size: int,
    dtypes: tuple[np.dtype, ...],
    kind: str,
    scales: list[float],
    mode: str,
    offset: int,
    turned: bool,
) -> None:
    base, finetuned = fill(np.random.default_rng(seed), kind, (size,), dtypes[0], (dtypes[1],) * 3)
    tensor = Patched(base, *oracle.task_vector(base, finetuned), offset)
    with turned_round(cuda.module, turned):
        cuda.remember(rows([tensor]))
        assert tensor.remembered.array().tobytes() == base[tensor.keep].tobytes()
        place = BASE
        for scale in scales:
            assert cuda.move(rows([tensor]), [place], at(scale, mode))
            place = at(scale, mode)
            tensor.check(place)
        assert cuda.move(rows([tensor]), [place], BASE)
    assert tensor.elements.array().tobytes() == base.tobytes()


def test_many_tensors_at_once(cuda: Moves) -> None:
    tensors = some_tensors(1, step=8)
    cuda.remember(rows(tensors))
    assert cuda.move(rows(tensors), [BASE], at(0.5))
    for tensor in tensors:
        tensor.check(at(0.5))
    assert cuda.move(rows([]), [BASE], at(1.0))


@pytest.mark.parametrize("dtype", [E4M3, BF16, F16, F32, F64], ids=str)
def test_nothing_moves_where_an_element_is_elsewhere(cuda: Moves, dtype: np.dtype) -> None:
    base, finetuned = fill(np.random.default_rng(2), "agreeing", (70_001,), dtype, (dtype,))
    vector, keep = oracle.task_vector(base, finetuned)
    keep[:3] = [True, False, True]
    keep[-1] = True
    for index in (0, 2, int(np.flatnonzero(keep)[keep.sum() // 2]), base.size - 1):
        tensors = [*some_tensors(3, step=8), Patched(base, vector, keep)]
        cuda.remember(rows(tensors))
        assert cuda.move(rows(tensors), [BASE], at(0.5))
        changed = tensors[-1].elements.array().copy()
        changed.view(np.uint8)[index * changed.itemsize] ^= 1
        tensors[-1].elements = Buffer(changed)
        before = [tensor.elements.array() for tensor in tensors]
        assert not cuda.move(rows(tensors), [at(0.5)], at(2.0))
        for tensor, array in zip(tensors, before, strict=True):
            assert tensor.elements.array().tobytes() == array.tobytes()


def test_elements_may_come_from_two_positions(cuda: Moves) -> None:
    tensors = some_tensors(4, step=8)
    cuda.remember(rows(tensors))
    assert cuda.move(rows(tensors), [BASE], at(0.5))
    assert cuda.move(rows(tensors[::2]), [at(0.5)], at(1.0))
    assert not cuda.move(rows(tensors), [at(0.5), at(2.0)], at(3.0))
    assert cuda.move(rows(tensors), [at(0.5), at(1.0)], at(3.0))
    for tensor in tensors:
        tensor.check(at(3.0))


def test_what_the_cpu_moved_is_recognised(cuda: Moves) -> None:
    tensors = some_tensors(5, step=8)
    native.remember(rows(tensors))
    assert native.move(rows(tensors), [BASE], at(0.5))
    assert cuda.move(rows(tensors), [at(0.5)], at(-1.5, "add"))
    assert native.move(rows(tensors), [at(-1.5, "add")], BASE)


def test_bits_beyond_the_last_element_are_ignored(cuda: Moves) -> None:
    tensor = Patched(np.zeros(3, F32), np.ones(3, F32), np.ones(3, bool))
    tensor.bits = Buffer(np.full(2, 0xFF, np.uint8))
    cuda.remember(rows([tensor]))
    assert cuda.move(rows([tensor]), [BASE], at(2.0, "add"))
    tensor.check(at(2.0, "add"))


def test_refuses_what_is_no_move(cuda: Moves) -> None:
    tensor = Patched(np.zeros(3, F64), np.ones(3, F32), np.ones(3, bool))
    with pytest.raises(ValueError, match="F64"):
        cuda.move(rows([tensor]), [BASE], at(1.0))
    with pytest.raises(ValueError, match="position"):
        cuda.move(rows([]), [], at(1.0))
    with pytest.raises(ValueError, match="added or subtracted"):
        cuda.move(rows([]), [BASE], at(1.0, "vector"))
    with pytest.raises(ValueError, match="multiple"):
        cuda.remember(rows([Patched(np.zeros(3, F32), np.ones(3, F32), np.ones(3, bool), offset=2)]))
    with pytest.raises(ValueError, match="workspace"):
        cuda.module.remember(0, 0, rows(some_tensors(6, step=8)), 64, 16)
