"""Placing the pieces of a chunk: addresses and files for the kernel, and reads of what it cannot read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ..checkpoint.base import FileRows, SourceFile
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
class Inputs:
    """The inputs of a chunk's merged pieces, as the kernel takes them.

    files: those that it reads itself. base, base_file: int64 and int32 ``[pieces]``; finetuned,
    finetuned_file and finetuned_dtype (uint8): ``[pieces, N]``. With the file number -1 an address is one in
    memory, with another it is a byte offset in that file.
    """

    files: tuple[SourceFile, ...]
    base: np.ndarray
    base_file: np.ndarray
    finetuned: np.ndarray
    finetuned_file: np.ndarray
    finetuned_dtype: np.ndarray


@dataclass(frozen=True, slots=True)
class PlacedChunk:
    """A chunk whose memory is fixed.

    out, keep, base: address of every piece's output, keep bits and base (0: none). data: the output bytes, if
    they go through a buffer. merged: the merged pieces; rows: their numbers among the merged tensors of the
    plan; merged_out, merged_keep: their addresses; inputs: what they are made of. nbytes: of files that are
    read for the chunk.
    """

    pieces: tuple[Piece, ...]
    data: memoryview
    out: np.ndarray
    keep: np.ndarray
    base: np.ndarray
    merged: Cuts
    rows: np.ndarray
    merged_out: np.ndarray
    merged_keep: np.ndarray
    inputs: Inputs
    nbytes: int

    def merging(self, chosen: np.ndarray) -> PlacedChunk:
        """The chunk with only some of its merged pieces, bool ``[merged pieces]``."""
        inputs = self.inputs
        return replace(
            self,
            merged=self.merged[chosen],
            rows=self.rows[chosen],
            merged_out=self.merged_out[chosen],
            merged_keep=self.merged_keep[chosen],
            inputs=Inputs(
                inputs.files,
                inputs.base[chosen],
                inputs.base_file[chosen],
                inputs.finetuned[chosen],
                inputs.finetuned_file[chosen],
                inputs.finetuned_dtype[chosen],
            ),
        )


class Placement:
    """Places the chunks of a plan as a sink wants them."""

    def __init__(self, plan: Plan[Rows], needs: Needs, wants: Wants) -> None:
        self._plan = plan
        self._needs = needs
        self._wants = wants
        self._row = np.cumsum(needs.merged) - 1

    def chunk(self, pieces: Sequence[Piece], frame: Buffer) -> tuple[PlacedChunk, list[Read]]:
        """Place ``pieces`` in ``frame``; the reads bring there what the kernel cannot read itself."""
        needs = self._needs
        cuts = Cuts(*np.array([(p.tensor, p.begin, p.numel) for p in pieces], np.int64).T)
        merged = needs.merged[cuts.tensor]
        areas = _Areas(frame)
        out_size = cuts.numel * needs.output[cuts.tensor] // 8
        out = areas.take(out_size)
        if self._wants.memory is not None:
            out = self._wants.memory[cuts.tensor] + cuts.begin * needs.out_item[cuts.tensor] // 8
        elif not self._wants.output:
            out = np.zeros_like(cuts.numel)
        base_size = cuts.numel * needs.base[cuts.tensor] // 8
        room = np.where(base_size > 0, areas.take(base_size), out)
        keep = np.zeros_like(cuts.numel)
        if self._wants.keep_bits:
            keep = np.where(merged, areas.take(2 * -(-cuts.numel // 16) * merged), 0)
        base, base_file, reads = self._base(cuts, merged, room, frame)
        inputs, model_reads = self._inputs(cuts[merged], base[merged], base_file[merged], areas)
        return PlacedChunk(
            pieces=tuple(pieces),
            data=frame.bytes[: int(out_size.sum())],
            out=out,
            keep=keep,
            base=self._seen(cuts, base, room, base_size),
            merged=cuts[merged],
            rows=self._row[cuts.tensor[merged]],
            merged_out=out[merged],
            merged_keep=keep[merged],
            inputs=inputs,
            nbytes=int((cuts.numel * needs.read[cuts.tensor] // 8).sum()),
        ), reads + model_reads

    def _base(
        self, cuts: Cuts, merged: np.ndarray, target: np.ndarray, frame: Buffer
    ) -> tuple[np.ndarray, np.ndarray, list[Read]]:
        """Where the base's bytes are or will be, in which file, and what reads them, and the copied ones."""
        rows, bits = self._plan.base, self._needs.item[cuts.tensor]
        nowhere = np.full(len(cuts.tensor), -1, np.int32)
        if isinstance(rows, MemoryRows):
            source = rows.address[cuts.tensor] + cuts.begin * bits // 8
            self._read(rows, cuts, bits, np.flatnonzero(~merged & (source != target)), target)
            return source, nowhere, []
        direct = self._needs.base_in_file[cuts.tensor]
        offset = rows.offset[cuts.tensor] + cuts.begin * bits // 8
        rest = ~direct
        index = cuts.tensor[rest]
        reads = list(self._file_reads(rows, index, cuts[rest], bits[rest], target[rest], frame))
        return (
            np.where(direct, offset, target),
            np.where(direct, rows.file[cuts.tensor], nowhere),
            reads,
        )

    def _seen(self, cuts: Cuts, base: np.ndarray, room: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Where the sink sees the base's bytes: what lies on a device is brought to the room made for it."""
        rows = self._plan.base
        if not isinstance(rows, MemoryRows) or rows.on_cpu:
            return base
        brought = size > 0
        self._read(rows, cuts, self._needs.item[cuts.tensor], np.flatnonzero(brought), room)
        return np.where(brought, room, base)

    @staticmethod
    def _read(rows: MemoryRows, cuts: Cuts, bits: np.ndarray, places: np.ndarray, target: np.ndarray) -> None:
        """Copy the pieces at ``places``, elements of ``bits``, from memory to where they are wanted."""
        begin, nbytes = cuts.begin * bits // 8, cuts.numel * bits // 8
        for place in places.tolist():
            rows.read(int(cuts.tensor[place]), int(begin[place]), int(nbytes[place]), int(target[place]))

    def _inputs(
        self, cuts: Cuts, base: np.ndarray, base_file: np.ndarray, areas: _Areas
    ) -> tuple[Inputs, list[Read]]:
        """Where the merged pieces' inputs are; models that must be gathered are read into ``areas``."""
        row = self._row[cuts.tensor]
        codes = self._plan.finetuned_dtypes[:, row]
        address = np.empty(codes.shape, np.int64)
        file = np.full(codes.shape, -1, np.int32)
        files = list(self._plan.base.files) if isinstance(self._plan.base, FileRows) else []
        reads: list[Read] = []
        for model, rows in enumerate(self._plan.finetuned):
            bits = CODE_BITS[codes[model]]
            before = cuts.begin * bits // 8
            if isinstance(rows, MemoryRows):
                address[model] = rows.address[row] + before
                continue
            address[model] = rows.offset[row] + before
            file[model] = rows.file[row] + len(files)
            files += rows.files
            if rows.strides:
                strided = np.isin(row, list(rows.strides))
                target = areas.take(np.where(strided, cuts.numel * bits // 8, 0))
                address[model, strided], file[model, strided] = target[strided], -1
                reads += self._file_reads(
                    rows, row[strided], cuts[strided], bits[strided], target[strided], areas.frame
                )
        used, number = np.unique(np.concatenate([base_file, file.ravel()]), return_inverse=True)
        number = (number - np.count_nonzero(used < 0)).astype(np.int32)
        return Inputs(
            files=tuple(files[index] for index in used[used >= 0].tolist()),
            base=base,
            base_file=number[: len(base)],
            finetuned=np.ascontiguousarray(address.T),
            finetuned_file=np.ascontiguousarray(number[len(base) :].reshape(file.shape).T),
            finetuned_dtype=np.ascontiguousarray(codes.T),
        ), reads

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


class _Areas:
    """Hands out a frame from its beginning, in areas that begin at aligned addresses."""

    def __init__(self, frame: Buffer) -> None:
        self.frame = frame
        self._free = frame.address

    def take(self, size: np.ndarray) -> np.ndarray:
        """Addresses of parts of ``size`` bytes that lie one after the other in a new area."""
        start, total = self._free, int(size.sum())
        self._free += align(total)
        return np.asarray(start + np.cumsum(size) - size)
