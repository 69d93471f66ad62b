"""Shapes of merges: within the budget for any N and any number of threads."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of

from negmerge_ext import dtypes
from negmerge_ext.checkpoint.base import FileRows
from negmerge_ext.checkpoint.journal import Position
from negmerge_ext.engine import budget
from negmerge_ext.engine.budget import fit
from negmerge_ext.engine.chunks import cut
from negmerge_ext.engine.needs import find_needs
from negmerge_ext.engine.sinks import Wants
from negmerge_ext.errors import MemoryBudgetError
from negmerge_ext.native import BLOCK, SCRATCH
from negmerge_ext.plan import Plan

_WANTS = [Wants(), Wants(output=True, copies=True), Wants(output=True, keep_bits=True)]


@st.composite
def plans(draw: st.DrawFn) -> Plan[FileRows]:
    names = st.sampled_from(sorted(dtypes.CODES))
    sizes = st.one_of(st.integers(0, 3), st.integers(0, 10**6), st.integers(0, 10**11))
    merged = st.tuples(sizes, names, names, st.sampled_from(["F32", "F64"]))
    copied = sizes.map(lambda size: (size, "I64", "I64", None))
    tensors = draw(st.lists(st.one_of(merged, copied), max_size=5))
    return plan_of(draw(st.sampled_from([0, 1, 2, 30, 31, 100, 4096])), [*tensors, draw(merged)], draw(names))


@given(
    plan=plans(),
    wants=st.sampled_from(_WANTS),
    histogram=st.booleans(),
    threads=st.sampled_from([1, 2, 64]),
    extra=st.one_of(st.just(0), st.integers(0, 10**6), st.integers(0, 10**9)),
)
def test_shapes_fit_their_budget_and_hold_a_block_of_every_tensor(
    plan: Plan[FileRows], wants: Wants, histogram: bool, threads: int, extra: int
) -> None:
    needs = find_needs(plan, wants)
    with pytest.raises(MemoryBudgetError) as caught:
        fit(plan, needs, 1, threads=threads, histogram=histogram)
    [least] = re.findall(r"needs (\d+)", str(caught.value))
    with pytest.raises(MemoryBudgetError):
        fit(plan, needs, int(least) - 1, threads=threads, histogram=histogram)
    shape = fit(plan, needs, int(least) + extra, threads=threads, histogram=histogram)
    assert shape.buffer_bytes <= shape.memory_bytes <= int(least) + extra
    assert 1 <= shape.workers.count <= threads
    assert 8 * shape.frame >= shape.capacity.bits[0]
    for tensor in np.flatnonzero(needs.wanted):
        block = min(BLOCK, int(needs.numel[tensor]))
        assert (shape.capacity.bits >= shape.capacity.costs[:, tensor] * block).all()


@pytest.mark.parametrize("models", [1, 8, 30, 300, 4096])
def test_memory_does_not_grow_with_the_pool(models: int) -> None:
    """Apart from what it takes to know where the tensors are."""

    def buffers(count: int) -> int:
        plan = plan_of(count, [(10**9, "F32", "F32", "F32")])
        return fit(plan, find_needs(plan, _WANTS[1]), 256 << 20, threads=2).buffer_bytes

    assert buffers(models) <= buffers(2)


def test_many_threads_leave_room_for_frames() -> None:
    plan = plan_of(8, [(10**9, "F32", "F32", "F32")])
    shape = fit(plan, find_needs(plan, _WANTS[1]), 64 << 20, threads=256)
    assert 8 <= shape.workers.count <= 32
    assert shape.frame >= 4 << 20
    assert fit(plan, find_needs(plan, _WANTS[1]), 2 << 30, threads=256).workers.count == 256


def test_a_small_model_takes_small_buffers() -> None:
    plan = plan_of(8, [(10_000, "F32", "F32", "F32")])
    shape = fit(plan, find_needs(plan, _WANTS[1]), None, threads=2)
    assert shape.buffer_bytes < 3 * 40_000 + 2 * SCRATCH + 20_000
    assert len(list(cut(plan.tensors, [0], shape.capacity, Position()))) == 1


def test_the_default_budget_holds_thousands_of_models() -> None:
    plan = plan_of(4096, [(10**7, "F32", "F32", "F32")] * 300)
    assert fit(plan, find_needs(plan, _WANTS[1]), None).memory_bytes <= budget.DEFAULT_MEMORY
