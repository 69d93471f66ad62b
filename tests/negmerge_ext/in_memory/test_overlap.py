"""Overlaps of an output with inputs, compared with what numpy says of every pair."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from negmerge_ext.in_memory.overlap import overlaps_with_inputs, overlaps_within, tied_tensors
from negmerge_ext.in_memory.state_dict import StateDictSource
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan

TENSORS, MODELS = 3, 2


@st.composite
def views(draw: st.DrawFn) -> list[np.ndarray]:
    """Arrays of one size within one piece of memory, or each in its own."""
    size, step = draw(st.integers(0, 3)), draw(st.sampled_from([1, 2, -1]))
    room = np.zeros(64, np.float32)
    result = []
    for _ in range(TENSORS * (MODELS + 2)):
        if draw(st.integers(0, 3)):
            start = draw(st.integers(0, 50))
            result.append(room[start + 8 : start + 8 + step * size : step] if size else room[start:start])
        else:
            result.append(np.zeros(size, np.float32))
    return result


@given(views())
def test_overlaps_are_those_of_every_pair(arrays: list[np.ndarray]) -> None:
    states = [
        {f"t{i}": array for i, array in enumerate(arrays[TENSORS * k : TENSORS * (k + 1)])}
        for k in range(MODELS + 2)
    ]
    base, *models, out = (StateDictSource(state, "x") for state in states)
    plan = make_plan(base, models, Options.parse())
    rows = out.rows(out.tensors.names)
    tied = tied_tensors(plan.tensors, rows)
    target = {i: tied.get(i, i) for i in range(TENSORS)}
    found = set(overlaps_with_inputs(plan, rows, tied))
    expected = {
        (a, model, b)
        for model, state in zip((None, *range(MODELS)), states[:-1], strict=True)
        for a, mine in enumerate(states[-1].values())
        for b, theirs in enumerate(state.values())
        if a not in tied and np.shares_memory(mine, theirs)
        if not (target[b] == a and same_place(mine, theirs))
    }
    assert found == expected
    pairs = {tuple(sorted(pair)) for pair in overlaps_within(rows, tied)}
    mine = list(states[-1].values())
    assert pairs == {
        (a, b)
        for a in range(TENSORS)
        for b in range(a + 1, TENSORS)
        if a not in tied and b not in tied and np.shares_memory(mine[a], mine[b])
    }


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    return a.ctypes.data == b.ctypes.data and (a.size < 2 or a.strides == b.strides)
