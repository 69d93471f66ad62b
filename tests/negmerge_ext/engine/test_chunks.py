"""Cutting plans into chunks: everything once, in order, at block boundaries, within capacity."""

from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from negmerge_ext.checkpoint.journal import Position
from negmerge_ext.engine.chunks import Capacity, Piece, cut
from negmerge_ext.native import BLOCK
from negmerge_ext.plan import PlannedTensor

_SIZES = st.one_of(
    st.integers(0, 40),
    st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK + 17]),
    st.integers(0, 10 * BLOCK),
)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[PlannedTensor], list[int], Capacity]:
    sizes = draw(st.lists(_SIZES, min_size=1, max_size=12))
    kinds = draw(st.integers(1, 3))
    costs = np.array(
        draw(st.lists(st.lists(st.sampled_from([0, 8, 17, 64]), min_size=len(sizes), max_size=len(sizes)),
                      min_size=kinds, max_size=kinds))
    )  # fmt: skip
    blocks = draw(st.lists(st.integers(1, 6), min_size=kinds, max_size=kinds))
    bits = costs.max(axis=1) * BLOCK * np.array(blocks)
    tensors = [PlannedTensor(str(i), (size,), "F32", "F32", "F32") for i, size in enumerate(sizes)]
    wanted = draw(st.lists(st.sampled_from(range(len(sizes))), unique=True).map(sorted))
    return tensors, wanted, Capacity(costs, bits, draw(st.sampled_from([1, 2, 100])))


def joined(chunks: list[tuple[Piece, ...]]) -> list[tuple[int, int, int]]:
    """(tensor, first, last element) after joining the pieces of each tensor, which must follow each other."""
    ranges = []
    pieces = [piece for chunk in chunks for piece in chunk]
    for tensor, group in groupby(pieces, lambda piece: piece.tensor):
        parts = list(group)
        assert all(a.end == b.begin for a, b in pairwise(parts))
        ranges.append((tensor, parts[0].begin, parts[-1].end))
    return ranges


@given(problem=problems())
def test_every_wanted_element_comes_once_and_in_order(
    problem: tuple[list[PlannedTensor], list[int], Capacity],
) -> None:
    tensors, wanted, capacity = problem
    chunks = list(cut(tensors, wanted, capacity, Position()))
    assert joined(chunks) == [(index, 0, tensors[index].numel) for index in wanted]
    for chunk in chunks:
        assert 0 < len(chunk) <= capacity.pieces
        taken = sum(capacity.costs[:, piece.tensor] * piece.numel for piece in chunk)
        assert (taken <= capacity.bits).all()
        assert all(piece.begin % BLOCK == 0 for piece in chunk)


@given(problem=problems(), data=st.data())
def test_from_any_later_place_the_rest_comes(
    problem: tuple[list[PlannedTensor], list[int], Capacity], data: st.DataObject
) -> None:
    tensors, wanted, capacity = problem
    tensor = data.draw(st.integers(0, len(tensors)))
    element = 0
    if tensor < len(tensors):
        element = BLOCK * data.draw(st.integers(0, max(0, tensors[tensor].numel - 1) // BLOCK))
    rest = [
        (index, element if index == tensor else 0, tensors[index].numel)
        for index in wanted
        if index >= tensor
    ]
    assert joined(list(cut(tensors, wanted, capacity, Position(tensor, element)))) == rest


def test_small_tensors_share_a_chunk() -> None:
    tensors = [PlannedTensor(str(i), (100,), "F32", "F32", "F32") for i in range(10)]
    capacity = Capacity(np.full((1, 10), 32), np.array([32 * BLOCK]), 1000)
    assert len(list(cut(tensors, range(10), capacity, Position()))) == 1
