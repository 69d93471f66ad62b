"""Passes over the inputs before they are merged: what a method's trimming asks for.

Thresholds are found by counting bits of the magnitudes of differences (:mod:`.selection`), in two passes
where they are fp32 numbers and four where any is computed in fp64. Models are taken in groups: neither their
number nor the size of a tensor has a part in the memory that it takes. What lies in a file comes to
buffers, piece by piece; what lies in main memory or on a CUDA device is counted there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic

import numpy as np

from .. import dtypes, native
from ..checkpoint.base import FileRows
from ..checkpoint.files import FileReader
from ..checkpoint.journal import Position
from ..errors import MemoryBudgetError
from ..in_memory.copying import packed_copy
from ..in_memory.device_memory import CPU
from ..in_memory.plain_tensor import raw_view
from ..in_memory.state_dict import MemoryRows
from ..methods import Trim
from ..plan import Plan
from ..progress import Progress, after
from ..source import RowsT
from .budget import DEFAULT_MEMORY, fixed_bytes
from .buffers import Arena, Buffer
from .chunks import Capacity, Piece, cut
from .cuda import count_batch
from .needs import CODE_BITS, find_needs
from .pipeline import Result, Settings
from .placing import Rows
from .reads import RangeRead, Read, Readers, StridedRead
from .selection import COUNTS_BYTES, NARROW, WIDE, Selection, rank_of_threshold, rounded_up
from .sinks import Wants

#: Bytes of an element at most.
_WIDEST = 8
#: Elements that are counted at a time at most.
_MOST_ELEMENTS = 1 << 20
#: One chunk is read while another is counted.
_BUFFERS = 2
#: Tensors, or parts of them, that are counted at a time at most; each may begin at an aligned address.
_MOST_PIECES = 1024


@dataclass(frozen=True, slots=True)
class TrimShape:
    """How thresholds are found.

    models: that are counted at the same time. elements: of a chunk. threads: that count. buffer_bytes,
    memory_bytes: main memory of buffers and tables, and all that it takes. bytes_read: of files.
    """

    models: int
    elements: int
    threads: int
    buffer_bytes: int
    memory_bytes: int
    bytes_read: int


def fit_trimming(plan: Plan[Rows], max_memory: int | None, threads: int | None) -> TrimShape | None:
    """The best shape within ``max_memory`` bytes (``None``: 512 MiB); ``None`` if nothing is to be trimmed.

    Raises :class:`~negmerge_ext.errors.MemoryBudgetError`, naming the least memory that would do.
    """
    if plan.options.method.trim is None:
        return None
    budget = DEFAULT_MEMORY if max_memory is None else max_memory
    fixed = fixed_bytes(plan)
    least = _nbytes(1, native.BLOCK, 1)
    if fixed + least > budget:
        raise MemoryBudgetError(
            f"max_memory is {budget} bytes, and finding the thresholds needs {fixed + least}",
            remedy=f"Give max_memory (--max-memory) {-(-(fixed + least) // 2**20)}MiB or more",
        )
    spare = budget - fixed - least
    count = min(threads or native.default_threads(), 1 + spare // 4 // COUNTS_BYTES)
    each = _nbytes(2, native.BLOCK, 1) - least
    models = min(plan.models, 1 + spare // 4 // each)
    blocks = 1
    while (
        2 * blocks * native.BLOCK <= _MOST_ELEMENTS
        and fixed + _nbytes(models, 2 * blocks * native.BLOCK, count) <= budget
    ):
        blocks *= 2
    elements = blocks * native.BLOCK
    nbytes = _nbytes(models, elements, count)
    return TrimShape(models, elements, count, nbytes, fixed + nbytes, _bytes_read(plan, models))


def find_thresholds(
    plan: Plan[Rows],
    max_memory: int | None,
    threads: int | None,
    progress: Progress | None = None,
    left: int = 0,
) -> np.ndarray | None:
    """The thresholds of a plan if its method trims, found by reading all merged tensors.

    progress: called with bytes of files; left: bytes that are read afterwards. Raises
    :class:`~negmerge_ext.errors.MemoryBudgetError`.
    """
    trim, shape = plan.options.method.trim, fit_trimming(plan, max_memory, threads)
    if trim is None or shape is None:
        return None
    thresholds = np.zeros((len(plan.merged), plan.models))
    single = plan.tensors.compute[plan.tensors.merged] == dtypes.CODES["F32"]
    done = 0
    with (
        Arena(_BUFFERS * _buffer_bytes(shape.models, shape.elements)) as arena,
        FileReader() as files,
        Readers(files) as readers,
    ):
        counting = _Counting(plan, shape, arena, readers)
        for rows in _shares(plan, trim):
            for models in _groups(plan.models, shape.models):
                for nbytes in counting.run(rows, models, trim.density):
                    done += nbytes
                    if progress is not None:
                        progress(done, shape.bytes_read + left)
                found = counting.found
                for row in rows.tolist():
                    thresholds[row, models] = rounded_up(found) if single[row] else found
    return thresholds


@dataclass(frozen=True, slots=True)
class Trimmed(Generic[RowsT]):
    """A plan whose thresholds are known, and what finding them took.

    progress: for what is read afterwards.
    """

    plan: Plan[RowsT]
    progress: Progress | None
    shape: TrimShape | None

    def counted(self, result: Result) -> Result:
        """The result of a run of the plan, with what was read and taken before it."""
        if self.shape is None:
            return result
        return replace(
            result,
            bytes_read=result.bytes_read + self.shape.bytes_read,
            buffer_bytes=max(result.buffer_bytes, self.shape.buffer_bytes),
        )


def trim(
    plan: Plan[Rows], wants: Wants, settings: Settings, progress: Progress | None, *, passes: int = 1
) -> Trimmed[Rows]:
    """Find the thresholds of a plan that is run ``passes`` times for a sink that ``wants`` something.

    Raises :class:`~negmerge_ext.errors.MemoryBudgetError`.
    """
    shape = fit_trimming(plan, settings.max_memory, settings.threads)
    if shape is None:
        return Trimmed(plan, progress, None)
    left = passes * int(find_needs(plan, wants).read_bytes.sum())
    found = find_thresholds(plan, settings.max_memory, settings.threads, progress, left)
    return Trimmed(replace(plan, thresholds=found), after(progress, shape.bytes_read), shape)


class _Counting:
    """Finds thresholds of one share of the model after the other."""

    def __init__(self, plan: Plan[Rows], shape: TrimShape, arena: Arena, readers: Readers) -> None:
        self._plan = plan
        self._shape = shape
        self._readers = readers
        nbytes = _buffer_bytes(shape.models, shape.elements)
        self._buffers = [arena.take(nbytes) for _ in range(_BUFFERS)]
        self.found = np.empty(0)

    def run(self, rows: np.ndarray, models: slice, density: float) -> Iterator[int]:
        """Count the magnitudes of some merged tensors in some models; what they come to is ``found`` at last.

        Yields the bytes of files that each step read.
        """
        tensors = self._plan.tensors
        index = tensors.merged[rows]
        numel = int(tensors.table.numel[index].sum())
        count = models.stop - models.start
        rank = rank_of_threshold(numel, density)
        if rank == 0:
            self.found = np.zeros(count)
            return
        wide = bool((tensors.compute[index] == dtypes.CODES["F64"]).any())
        selection = Selection([rank] * count, wide=wide)
        capacity = Capacity(
            costs=np.ones((1, len(tensors)), np.int64),
            bits=np.array([self._shape.elements]),
            pieces=_MOST_PIECES,
        )
        device = self._device(index)
        for shift, bits in selection.digits:
            counts = np.zeros((count, 1 << bits), np.int64)
            digit: dict[str, Any] = {
                "prefixes": selection.prefixes,
                "shift": shift,
                "bits": bits,
                "wide": wide,
            }
            for number in np.unique(device[device != CPU]).tolist():
                self._count_on_device(number, index[device == number], models, counts, digit)
            chunks = (
                self._begin(pieces, models, self._buffers[number % _BUFFERS])
                for number, pieces in enumerate(
                    cut(tensors, index[device == CPU].tolist(), capacity, Position())
                )
            )
            ahead = deque(islice(chunks, _BUFFERS - 1))
            while ahead:
                # One buffer is free again: its chunk was counted in the step before.
                ahead.extend(islice(chunks, 1))
                chunk = ahead.popleft()
                for reading in chunk.readings:
                    reading.result()
                native.count_magnitudes(
                    numel=chunk.numel,
                    base=chunk.base,
                    finetuned=chunk.finetuned,
                    counts=counts,
                    threads=self._shape.threads,
                    **self._dtypes(chunk.tensor, models),
                    **digit,
                )
                yield chunk.nbytes
            selection.narrow(counts)
        self.found = selection.found

    def _device(self, tensor: np.ndarray) -> np.ndarray:
        """The device that each tensor lies on, in the base and in all models."""
        base = self._plan.base
        return base.device[tensor] if isinstance(base, MemoryRows) else np.full(len(tensor), CPU)

    def _dtypes(self, tensor: np.ndarray, models: slice) -> dict[str, Any]:
        plan, row = self._plan, np.searchsorted(self._plan.tensors.merged, tensor)
        return {
            "compute": plan.tensors.compute[tensor].astype(np.uint8),
            "base_dtype": plan.tensors.table.dtype[tensor].astype(np.uint8),
            "finetuned_dtype": np.ascontiguousarray(plan.finetuned_dtypes[models, row].T),
        }

    def _count_on_device(
        self, device: int, tensor: np.ndarray, models: slice, counts: np.ndarray, digit: dict[str, Any]
    ) -> None:
        """Count whole tensors where they are: in one call, but for those that are stored in unlike orders."""
        plan, row = self._plan, np.searchsorted(self._plan.tensors.merged, tensor)
        inputs: list[tuple[MemoryRows, np.ndarray]] = [
            (rows, at)
            for rows, at in [(plan.base, tensor), *((model, row) for model in plan.finetuned[models])]
            if isinstance(rows, MemoryRows)
        ]
        address = np.array([rows.start[at] for rows, at in inputs])
        direct = np.logical_and.reduce([rows.row_major[at] for rows, at in inputs])

        def count(chosen: np.ndarray, address: np.ndarray) -> None:
            if len(chosen):
                count_batch(
                    device,
                    numel=plan.tensors.table.numel[chosen],
                    base=address[0],
                    finetuned=np.ascontiguousarray(address[1:].T),
                    counts=counts,
                    **self._dtypes(chosen, models),
                    **digit,
                )

        count(tensor[direct], address[:, direct])
        for place in np.flatnonzero(~direct).tolist():
            copies = [packed_copy(rows.values[at[place]]) for rows, at in inputs]
            count(tensor[place : place + 1], np.array([[start] for _, start in copies]))

    def _begin(self, pieces: Sequence[Piece], models: slice, buffer: Buffer) -> _Chunk:
        """Find the inputs of some pieces, and begin to read what is not in main memory."""
        plan = self._plan
        tensor = np.array([piece.tensor for piece in pieces], np.int64)
        row = np.searchsorted(plan.tensors.merged, tensor)
        places = _Places(plan, buffer)
        base_dtypes = plan.tensors.table.dtype[tensor]
        base = [
            places.address(plan.base, piece.tensor, int(dtype), piece)
            for piece, dtype in zip(pieces, base_dtypes, strict=True)
        ]
        finetuned = [
            [
                places.address(rows, int(place), int(codes[place]), piece)
                for place, piece in zip(row, pieces, strict=True)
            ]
            for rows, codes in zip(plan.finetuned[models], plan.finetuned_dtypes[models], strict=True)
        ]
        return _Chunk(
            tensor=tensor,
            numel=np.array([piece.numel for piece in pieces], np.int64),
            base=np.array(base, np.int64),
            finetuned=np.ascontiguousarray(np.array(finetuned, np.int64).T),
            readings=self._readers.submit(places.reads),
            nbytes=places.nbytes,
        )


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Inputs of some pieces: addresses, once they are read. nbytes: of files."""

    tensor: np.ndarray
    numel: np.ndarray
    base: np.ndarray
    finetuned: np.ndarray
    readings: list[Future[None]]
    nbytes: int


class _Places:
    """Where pieces of inputs are in main memory: where they lie, or in a buffer that they are brought to."""

    def __init__(self, plan: Plan[Rows], buffer: Buffer) -> None:
        self._plan = plan
        self._buffer = buffer
        self._used = 0
        self.reads: list[Read] = []
        self.nbytes = 0

    def address(self, rows: Rows, place: int, dtype: int, piece: Piece) -> int:
        """The address of a piece of the tensor at ``place`` of ``rows``; dtype: its native code."""
        item = int(CODE_BITS[dtype]) // 8
        before, nbytes = piece.begin * item, piece.numel * item
        if isinstance(rows, FileRows):
            target = self._take(nbytes)
            self.nbytes += nbytes
            self._read(rows, place, item, piece, target)
            return self._at(target)
        if rows.row_major[place]:
            return int(rows.start[place]) + before
        target = self._take(nbytes)
        view = raw_view(rows.values[place])
        elements = np.frombuffer(self._memory(target, nbytes), f"u{item}")
        elements[:] = view.flat[piece.begin : piece.end].view(f"u{item}")
        return self._at(target)

    def _read(self, rows: FileRows, place: int, item: int, piece: Piece, target: int) -> None:
        nbytes = piece.numel * item
        if nbytes == 0:
            return
        file, offset = rows.files[int(rows.file[place])], int(rows.offset[place])
        memory = self._memory(target, nbytes)
        strides = rows.strides.get(place)
        if strides is None:
            self.reads += RangeRead(file, offset + piece.begin * item, memory).parts()
            return
        shape = self._plan.tensors[piece.tensor].shape
        self.reads.append(StridedRead(file, offset, strides, shape, item, piece.begin, piece.end, memory))

    def _take(self, nbytes: int) -> int:
        taken = self._used
        self._used += -(-nbytes // _WIDEST) * _WIDEST
        return taken

    def _at(self, place: int) -> int:
        return self._buffer.address + place

    def _memory(self, place: int, nbytes: int) -> memoryview:
        return self._buffer.bytes[place : place + nbytes]


def _shares(plan: Plan[Rows], trim: Trim) -> list[np.ndarray]:
    """Merged tensors, by their numbers, that have a threshold in common; none of them without elements."""
    rows = np.flatnonzero(plan.tensors.table.numel[plan.tensors.merged] > 0)
    return [rows] if trim.per == "model" and len(rows) else [rows[i : i + 1] for i in range(len(rows))]


def _groups(models: int, together: int) -> list[slice]:
    return [slice(first, min(first + together, models)) for first in range(0, models, together)]


def _buffer_bytes(models: int, elements: int) -> int:
    return (1 + models) * (elements + _MOST_PIECES) * _WIDEST


def _nbytes(models: int, elements: int, threads: int) -> int:
    """Of buffers, of counts, of those of every thread, and of their running sums."""
    return _BUFFERS * _buffer_bytes(models, elements) + (models + threads + 1) * COUNTS_BYTES


def _bytes_read(plan: Plan[Rows], together: int) -> int:
    """Bytes of files that finding all thresholds reads."""
    merged = plan.tensors.merged
    numel = plan.tensors.table.numel[merged]
    in_double = (plan.tensors.compute[merged] == dtypes.CODES["F64"]) & (numel > 0)
    trim = plan.options.method.trim
    wide = in_double if trim is not None and trim.per == "tensor" else np.full(len(merged), in_double.any())
    passes = np.where(wide, len(WIDE), len(NARROW))
    groups = -(-plan.models // together)
    bits = np.zeros(len(merged), np.int64)
    if isinstance(plan.base, FileRows):
        bits += groups * CODE_BITS[plan.tensors.table.dtype[merged]]
    for rows, codes in zip(plan.finetuned, plan.finetuned_dtypes, strict=True):
        if isinstance(rows, FileRows):
            bits += CODE_BITS[codes]
    if trim is not None:
        shares = numel if trim.per == "tensor" else np.full(len(merged), numel.sum())
        counted = np.array([rank_of_threshold(int(share), trim.density) > 0 for share in shares], bool)
        passes = np.where(counted, passes, 0)
    return int((passes * numel * bits // 8).sum())
