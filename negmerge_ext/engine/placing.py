"""Placing the pieces of a chunk in buffers: addresses for the kernel, and the reads that fill them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .. import dtypes, native
from ..checkpoint.base import FileRows
from ..in_memory.state_dict import MemoryRows
from ..plan import Plan
from .buffers import Buffer, align
from .chunks import Piece
from .needs import CODE_BITS, Needs
from .reads import RangeRead, Read, StridedRead
from .sinks import Wants

Rows: TypeAlias = FileRows | MemoryRows


@dataclass(frozen=True, slots=True)
class Cuts:
    """Pieces as int64 arrays: tensors of the plan, first elements, numbers of elements."""

    tensor: np.ndarray
    begin: np.ndarray
    numel: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> Cuts:
        return Cuts(self.tensor[chosen], self.begin[chosen], self.numel[chosen])


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk whose memory is fixed.

    out, keep, base: address of every piece's output, keep bits and base (0: none). data: the output bytes, if
    they go through a buffer. merged: the merged pieces; rows: their numbers among the merged tensors of the
    plan; merged_base, merged_out, merged_keep: their addresses.
    """

    pieces: tuple[Piece, ...]
    data: memoryview
    out: np.ndarray
    keep: np.ndarray
    base: np.ndarray
    merged: Cuts
    rows: np.ndarray
    merged_base: np.ndarray
    merged_out: np.ndarray
    merged_keep: np.ndarray


class Placement:
    """Places the chunks of a plan as a sink wants them."""

    def __init__(self, plan: Plan[Rows], needs: Needs, wants: Wants, *, histogram: bool) -> None:
        self._plan = plan
        self._needs = needs
        self._wants = wants
        self._histogram = histogram
        self._row = np.cumsum(needs.merged) - 1

    def chunk(self, pieces: Sequence[Piece], frame: Buffer) -> tuple[PlacedChunk, list[Read]]:
        """Place base, output and keep bits of ``pieces`` in ``frame``, base and copied bytes by reads."""
        needs = self._needs
        cuts = Cuts(*np.array([(p.tensor, p.begin, p.numel) for p in pieces], np.int64).T)
        merged = needs.merged[cuts.tensor]
        out_size = cuts.numel * needs.output[cuts.tensor] // 8
        base_size = cuts.numel * needs.base[cuts.tensor] // 8
        base_area = frame.address + align(int(out_size.sum()))
        out = _laid_out(frame.address, out_size)
        if self._wants.memory is not None:
            out = self._wants.memory[cuts.tensor] + cuts.begin * needs.out_item[cuts.tensor] // 8
        elif not self._wants.output:
            out = np.zeros_like(cuts.numel)
        base = np.where(base_size > 0, _laid_out(base_area, base_size), out)
        keep = np.zeros_like(cuts.numel)
        if self._wants.keep_bits:
            keep_area = base_area + align(int(base_size.sum()))
            keep = np.where(merged, _laid_out(keep_area, 2 * -(-cuts.numel // 16) * merged), 0)
        base, reads = self._base(cuts, merged, base, frame)
        return PlacedChunk(
            pieces=tuple(pieces),
            data=frame.bytes[: int(out_size.sum())],
            out=out,
            keep=keep,
            base=base,
            merged=cuts[merged],
            rows=self._row[cuts.tensor[merged]],
            merged_base=base[merged],
            merged_out=out[merged],
            merged_keep=keep[merged],
        ), reads

    def models(
        self, chunk: PlacedChunk, models: range, slot: Buffer
    ) -> tuple[np.ndarray, np.ndarray, list[Read]]:
        """Place ``models`` of the merged pieces in ``slot``: addresses and dtype codes, tensor-major."""
        cuts, index = chunk.merged, chunk.rows
        codes = self._plan.finetuned_dtypes[models.start : models.stop, index]
        bits = CODE_BITS[codes]
        addresses = np.empty(bits.shape, np.int64)
        reads: list[Read] = []
        free = slot.address
        for row, model in enumerate(models):
            rows = self._plan.finetuned[model]
            if isinstance(rows, MemoryRows):
                addresses[row] = rows.address[index] + cuts.begin * bits[row] // 8
                continue
            size = cuts.numel * bits[row] // 8
            addresses[row] = _laid_out(free, size)
            free += align(int(size.sum()))
            reads += self._file_reads(rows, index, cuts, bits[row], addresses[row], slot)
        return addresses.T.ravel(), codes.T.ravel(), reads

    def state(self, chunk: PlacedChunk, buffer: Buffer) -> native.State:
        """Place the running sums and sign masks of a chunk's merged pieces in ``buffer``."""
        places: list[list[int]] = [[] for _ in range(4 if self._histogram else 3)]
        free = buffer.address
        for tensor, numel in zip(chunk.merged.tensor.tolist(), chunk.merged.numel.tolist(), strict=True):
            words = -(-numel // 16)
            compute = dtypes.nbytes(self._plan.tensors[tensor].compute or "F32", numel)
            for place, size in zip(places, (compute, 2 * words, 2 * words, 4 * numel), strict=False):
                place.append(free)
                free += align(size)
        return native.State(*places)

    def _base(
        self, cuts: Cuts, merged: np.ndarray, target: np.ndarray, frame: Buffer
    ) -> tuple[np.ndarray, list[Read]]:
        """Where the base's bytes will be, and what reads them, and the copied ones, to there."""
        rows, bits = self._plan.base, self._needs.item[cuts.tensor]
        if isinstance(rows, FileRows):
            return target, list(self._file_reads(rows, cuts.tensor, cuts, bits, target, frame))
        source = rows.address[cuts.tensor] + cuts.begin * bits // 8
        for place in np.flatnonzero(~merged & (source != target)).tolist():
            ctypes.memmove(int(target[place]), int(source[place]), int(cuts.numel[place] * bits[place] // 8))
        return source, []

    def _file_reads(
        self,
        rows: FileRows,
        index: np.ndarray,
        cuts: Cuts,
        bits: np.ndarray,
        address: np.ndarray,
        buffer: Buffer,
    ) -> Iterator[Read]:
        """Reads that bring ``cuts``, tensors ``index`` of ``rows``, to ``address``, neighbours joined."""
        file, size = rows.file[index], cuts.numel * bits // 8
        offset = rows.offset[index] + cuts.begin * bits // 8
        joined = (file[1:] == file[:-1]) & ((np.diff(offset) == size[:-1]) & (np.diff(address) == size[:-1]))
        if rows.strides:
            strided = np.isin(index, list(rows.strides))
            joined &= ~strided[1:] & ~strided[:-1]
        first = [0, *(np.flatnonzero(~joined) + 1).tolist()]
        for start, stop in zip(first, [*first[1:], len(index)], strict=True):
            nbytes = int(size[start:stop].sum())
            if nbytes == 0:
                continue
            source, target = rows.files[int(file[start])], buffer.at(int(address[start]), nbytes)
            strides = rows.strides.get(int(index[start]))
            if strides is None:
                yield from RangeRead(source, int(offset[start]), target).parts()
                continue
            begin, numel = int(cuts.begin[start]), int(cuts.numel[start])
            yield StridedRead(
                file=source,
                offset=int(rows.offset[index[start]]),
                strides=strides,
                shape=self._plan.tensors[int(cuts.tensor[start])].shape,
                itemsize=nbytes // numel,
                begin=begin,
                end=begin + numel,
                target=target,
            )


def _laid_out(start: int, size: np.ndarray) -> np.ndarray:
    """Addresses of areas of ``size`` bytes one after the other."""
    return np.asarray(start + np.cumsum(size) - size)
