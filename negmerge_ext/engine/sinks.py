"""Where a streaming merge delivers what it has computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..checkpoint.journal import Position
from ..checkpoint.output import Output
from ..checkpoint.writer import Writer
from .chunks import Piece


@dataclass(frozen=True, slots=True)
class Wants:
    """What a sink wants of a merge, besides statistics.

    output: the tensors. copies: the copied tensors as well as the merged ones. keep_bits, base: keep bits and
    base of merged tensors. memory: int64 ``[tensors]``, addresses at which whole tensors are to be made (0:
    not wanted); ``None``: they are delivered in buffers.
    """

    output: bool = False
    copies: bool = False
    keep_bits: bool = False
    base: bool = False
    memory: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One chunk of output, in plan order; its memory is used again when ``Sink.write`` returns.

    pieces: what it holds. data: their output bytes, one after the other; empty if the sink has memory of its
    own. addresses, keep, base: of the output, keep bits and base of each piece (0: none). end: everything
    before it is now delivered. rows: statistics so far of the chunk's merged tensors, whose numbers among the
    merged tensors of the plan are ``merged``.
    """

    pieces: tuple[Piece, ...]
    data: memoryview
    addresses: tuple[int, ...]
    keep: tuple[int, ...]
    base: tuple[int, ...]
    end: Position
    merged: np.ndarray
    rows: np.ndarray


class Sink(Protocol):
    """What a merge does with its output."""

    @property
    def wants(self) -> Wants: ...
    def write(self, delivery: Delivery) -> None:
        """Take one chunk; called in order, one at a time, in a thread of its own."""


class StatisticsOnly:
    """Takes no output."""

    wants = Wants()

    def write(self, delivery: Delivery) -> None:
        """The merge keeps the statistics itself."""


class InMemory:
    """Has every tensor, merged or copied, made in memory; addresses: where, as in :class:`Wants`."""

    def __init__(self, addresses: np.ndarray) -> None:
        self.wants = Wants(output=True, copies=True, memory=addresses)

    def write(self, delivery: Delivery) -> None:
        """The tensors are in their places already."""


class FileSink:
    """Writes the output's files and keeps their journal.

    rows: statistics of all merged tensors up to where the merge begins.
    """

    wants = Wants(output=True, copies=True)

    def __init__(self, writer: Writer, places: Places, rows: np.ndarray) -> None:
        self._writer = writer
        self._places = places
        self._rows = rows.copy()

    def write(self, delivery: Delivery) -> None:
        for run in self._places.runs(delivery):
            self._writer.write(run.file, run.offset, run.data)
        self._rows[delivery.merged] = delivery.rows
        self._writer.mark(delivery.end, self._rows)


@dataclass(frozen=True, slots=True)
class FileRun:
    """Output bytes that follow each other in a file, and the pieces they are of."""

    file: int
    offset: int
    data: memoryview
    pieces: tuple[Piece, ...]


class Places:
    """Where chunks go in an output's files. item_bits: of every tensor's output elements."""

    def __init__(self, output: Output, item_bits: np.ndarray) -> None:
        self._output = output
        self._item_bits = item_bits

    def nbytes(self, piece: Piece) -> int:
        """Bytes of a piece's output."""
        return piece.numel * int(self._item_bits[piece.tensor]) // 8

    def runs(self, delivery: Delivery) -> Iterator[FileRun]:
        """The chunk's bytes, neighbouring pieces joined."""
        tensor, begin, numel = np.array([(p.tensor, p.begin, p.numel) for p in delivery.pieces], np.int64).T
        bits = self._item_bits[tensor]
        size = numel * bits // 8
        offset = self._output.offset[tensor] + begin * bits // 8
        file = self._output.file[tensor]
        joined = (np.diff(file) == 0) & (np.diff(offset) == size[:-1])
        first = [0, *(np.flatnonzero(~joined) + 1).tolist()]
        ends = np.cumsum(size)
        for start, stop in zip(first, [*first[1:], len(tensor)], strict=True):
            data = delivery.data[int(ends[start] - size[start]) : int(ends[stop - 1])]
            yield FileRun(int(file[start]), int(offset[start]), data, delivery.pieces[start:stop])
