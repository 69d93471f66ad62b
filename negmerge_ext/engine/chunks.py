"""Cutting a plan into chunks: runs of tensors, and of parts of tensors, that fit the buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .. import native
from ..checkpoint.journal import Position
from ..plan import PlannedTensor


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements [begin, end) of a tensor; ``begin`` is a multiple of ``native.BLOCK``."""

    tensor: int
    begin: int
    end: int

    @property
    def numel(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one chunk may take.

    costs: int64 ``[kinds, tensors]``, bits that an element of each tensor takes of each kind of buffer.
    bits: int64 ``[kinds]``, size of those buffers. pieces: most pieces of a chunk.
    """

    costs: np.ndarray
    bits: np.ndarray
    pieces: int


def cut(
    tensors: Sequence[PlannedTensor], wanted: Sequence[int], capacity: Capacity, start: Position
) -> Iterator[tuple[Piece, ...]]:
    """Chunks of the ``wanted`` tensors (indices in order) from ``start`` on, each as full as it can be.

    Tensors are cut only at multiples of ``native.BLOCK`` elements, which the capacity must be able to
    hold. An empty tensor is a piece of no elements.
    """
    pieces: list[Piece] = []
    room = capacity.bits.tolist()
    for tensor in wanted:
        if tensor < start.tensor:
            continue
        begin = start.element if tensor == start.tensor else 0
        numel, costs = tensors[tensor].numel, capacity.costs[:, tensor].tolist()
        if 0 < numel <= begin:
            continue
        while True:
            count = _most_elements(numel - begin, costs, room)
            if (count == 0 and numel > begin) or len(pieces) == capacity.pieces:
                yield tuple(pieces)
                pieces, room = [], capacity.bits.tolist()
                continue
            pieces.append(Piece(tensor, begin, begin + count))
            room = [left - cost * count for left, cost in zip(room, costs, strict=True)]
            begin += count
            if begin >= numel:
                break
    if pieces:
        yield tuple(pieces)


def _most_elements(remaining: int, costs: Sequence[int], room: Sequence[int]) -> int:
    fitting = min((left // cost for left, cost in zip(room, costs, strict=True) if cost), default=remaining)
    return remaining if remaining <= fitting else fitting - fitting % native.BLOCK
