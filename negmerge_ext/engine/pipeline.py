"""Executing a plan in bounded memory: reading, merging and writing chunk by chunk, all at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TypeAlias

import numpy as np

from .. import dtypes, native
from ..checkpoint.files import FileReader
from ..checkpoint.journal import Position, ResumePoint
from ..in_memory.device_memory import CPU
from ..in_memory.state_dict import MemoryRows
from ..options import MODES
from ..plan import Plan
from ..progress import Progress
from ..stats import NATIVE_STATS
from .budget import FRAMES, Shape, fit
from .buffers import Arena, Buffer
from .chunks import Piece, cut
from .from_device import merge_from_device
from .needs import Needs, find_needs
from .placing import PlacedChunk, Placement, Rows
from .reads import Readers
from .sinks import Delivery, Sink
from .unchanged import check_unchanged
from .workers import Mergers

#: Chunks that are placed before they are merged: one is merged while the next is read. In tmpfs one takes
#: 0.96 of the time and three 0.99 (budget.py): what reading ahead is for are disks.
_AHEAD = 2

#: Computes the merged pieces of a chunk from their base: reads ``inputs.base``, writes ``merged_out``.
Kernel: TypeAlias = Callable[[PlacedChunk], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run, with no effect on the result.

    max_memory: bytes that the merge may take, buffers, tables and all; ``None``: 512 MiB. threads: of the
    kernel; ``None``: the default. progress: whether to show a bar, or a function that is called with the
    bytes of input that are done and those of all input. device: number of the CUDA device to merge on, -1 for
    the CPU; ``None``: where tensors lie, files on the CPU.
    """

    max_memory: int | None = None
    threads: int | None = None
    progress: bool | Progress = False
    device: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found out.

    rows: :data:`~negmerge_ext.stats.NATIVE_STATS` ``[merged tensors]``. histogram: int64
    ``[merged tensors, N + 1]``, sign agreement, if it was asked for. buffer_bytes: main memory of the
    buffers; device_bytes: of a device's memory, what merging files there took.
    """

    rows: np.ndarray
    histogram: np.ndarray | None
    bytes_read: int
    buffer_bytes: int
    device_bytes: int


def run(
    plan: Plan[Rows],
    sink: Sink,
    settings: Settings,
    *,
    histogram: bool = False,
    start: ResumePoint | None = None,
    progress: Progress | None = None,
    kernel: Kernel | None = None,
    mergers: Mergers | None = None,
) -> Result:
    """Execute ``plan`` from ``start`` on (default: the beginning) and deliver its output to ``sink``.

    progress: called in this thread at the start and after every step (``settings.progress`` is for the
    functions that show it). kernel: makes the output of each chunk's merged pieces from their base instead of
    merging models, for a plan that has none. mergers: where a device's workers come from, which stay there;
    ``None``: they are this run's own.

    The result is the same to the bit for every budget and number of threads. The first error of any thread
    ends all of them and is raised as it is, an interrupt too; no thread outlives the call. At the end all
    input files must still be what they were when the plan was made, else
    :class:`~negmerge_ext.errors.SourceChangedError`. Raises :class:`~negmerge_ext.errors.MemoryBudgetError`
    and, of a CUDA device, :class:`~negmerge_ext.errors.DeviceError` and
    :class:`~negmerge_ext.errors.DeviceMemoryError` before anything is read; the device may also fail later.
    """
    needs = find_needs(plan, sink.wants, base_in_memory=kernel is not None)
    shape = fit(
        plan,
        needs,
        settings.max_memory,
        threads=settings.threads,
        histogram=histogram,
        device=settings.device,
    )
    rows = np.zeros(len(plan.merged), NATIVE_STATS) if start is None else start.rows.copy()
    counts = np.zeros((len(plan.merged), plan.models + 1), np.int64) if histogram else None
    position = Position() if start is None else start.position
    total = int(needs.read_bytes.sum())
    done = skipped = _bytes_before(needs, position)
    report = progress or (lambda done, total: None)
    report(done, total)
    with (
        Mergers() if mergers is None else nullcontext(mergers) as workers,
        Arena(FRAMES * shape.frame) as arena,
        FileReader() as files,
        Readers(files) as readers,
        _Outbox(sink) as outbox,
    ):
        merge = _kernel_for(shape, workers)
        placement = Placement(plan, needs, sink.wants)
        chunks = cut(plan.tensors, np.flatnonzero(needs.wanted).tolist(), shape.capacity, position)
        frames = [arena.take(shape.frame) for _ in range(FRAMES)]
        steps = _steps(chunks, placement, frames, readers, outbox)
        ahead = deque(islice(steps, _AHEAD))
        while ahead:
            step = ahead.popleft()
            for reading in step.readings:
                reading.result()
            if kernel is None:
                _merge(plan, step.chunk, files, rows, counts, merge, shape.workers.count)
            else:
                kernel(step.chunk)
            outbox.send(step.frame, _delivery(plan, step.chunk, rows))
            done += step.chunk.nbytes
            report(done, total)
            ahead.extend(islice(steps, 1))
        outbox.flush()
    check_unchanged(plan)
    return Result(
        rows=rows,
        histogram=counts,
        bytes_read=done - skipped,
        buffer_bytes=shape.buffer_bytes,
        device_bytes=shape.workers.device_bytes,
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A chunk in a frame; what the kernel cannot read itself is being read."""

    chunk: PlacedChunk
    frame: int
    readings: list[Future[None]]


def _steps(
    chunks: Iterator[tuple[Piece, ...]],
    placement: Placement,
    frames: Sequence[Buffer],
    readers: Readers,
    outbox: _Outbox,
) -> Iterator[_Step]:
    """Place each chunk, and begin to read it, as it is asked for.

    Frames are used in turn: a chunk's frame is that of the chunk :data:`FRAMES` before it, whose writing is
    waited for.
    """
    for number, pieces in enumerate(chunks):
        frame = number % FRAMES
        outbox.wait(frame)
        chunk, reads = placement.chunk(pieces, frames[frame])
        yield _Step(chunk, frame, readers.submit(reads))


class _Outbox:
    """A thread that hands chunks to the sink, in order, until one cannot be taken; a context manager."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="negmerge-write")
        self._sent: list[Future[None] | None] = [None] * FRAMES
        self._failed = False

    def send(self, frame: int, delivery: Delivery) -> None:
        """Deliver a chunk that lies in ``frame``."""
        self._sent[frame] = self._thread.submit(self._deliver, delivery)

    def _deliver(self, delivery: Delivery) -> None:
        if self._failed:  # a later chunk must not pass for everything before it
            return
        try:
            self._sink.write(delivery)
        except BaseException:
            self._failed = True
            raise

    def wait(self, frame: int) -> None:
        """Wait until ``frame`` may be used again; raises what went wrong with its delivery."""
        sent, self._sent[frame] = self._sent[frame], None
        if sent is not None:
            sent.result()

    def flush(self) -> None:
        """Wait for everything sent."""
        for frame in range(FRAMES):
            self.wait(frame)

    def __enter__(self) -> _Outbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)


def _kernel_for(shape: Shape, mergers: Mergers) -> Callable[..., None]:
    """:func:`negmerge_ext.native.merge`, or what does the same on the device of ``shape``."""
    if shape.device == CPU:
        return partial(native.merge, threads=shape.workers.count)
    return mergers.get(shape.device, shape.workers).merge


def _merge(
    plan: Plan[Rows],
    chunk: PlacedChunk,
    files: FileReader,
    rows: np.ndarray,
    counts: np.ndarray | None,
    merge: Callable[..., None],
    threads: int,
) -> None:
    """Merge each piece of a chunk where it lies; merge: what lies in files and in main memory."""
    if not isinstance(plan.base, MemoryRows) or plan.base.on_cpu:
        _merge_from_host(plan, chunk, files, rows, counts, merge)
        return
    device = plan.base.device[chunk.merged.tensor]
    for number in np.unique(device).tolist():
        part = chunk.merging(device == number)
        if number == CPU:
            _merge_from_host(plan, part, files, rows, counts, merge)
        else:
            merge_from_device(plan, part, number, rows, counts, threads)


def _merge_from_host(
    plan: Plan[Rows],
    chunk: PlacedChunk,
    files: FileReader,
    rows: np.ndarray,
    counts: np.ndarray | None,
    merge: Callable[..., None],
) -> None:
    if len(chunk.merged.numel) == 0:
        return
    tensors = [plan.tensors[tensor] for tensor in chunk.merged.tensor.tolist()]
    stats = rows[chunk.rows]
    histogram = None if counts is None else counts[chunk.rows]
    inputs = chunk.inputs
    with files.reading(inputs.files) as open_files:
        merge(
            method=plan.options.method.code,
            mode=MODES[plan.options.mode],
            scale=plan.options.scale,
            models=plan.models,
            numel=chunk.merged.numel,
            compute=[dtypes.CODES[tensor.compute or "F32"] for tensor in tensors],
            base=inputs.base,
            base_dtype=[dtypes.CODES[tensor.dtype] for tensor in tensors],
            finetuned=inputs.finetuned,
            finetuned_dtype=inputs.finetuned_dtype,
            out=chunk.merged_out,
            out_dtype=[dtypes.CODES[tensor.out_dtype] for tensor in tensors],
            stats=stats,
            keep=chunk.merged_keep,
            histogram=histogram,
            files=open_files,
            base_file=inputs.base_file,
            finetuned_file=inputs.finetuned_file,
            thresholds=plan.thresholds_of(chunk.merged.tensor),
        )
    rows[chunk.rows] = stats
    if counts is not None:
        counts[chunk.rows] = histogram


def _delivery(plan: Plan[Rows], chunk: PlacedChunk, rows: np.ndarray) -> Delivery:
    last = chunk.pieces[-1]
    complete = last.end == plan.tensors[last.tensor].numel
    return Delivery(
        pieces=chunk.pieces,
        data=chunk.data,
        addresses=tuple(chunk.out.tolist()),
        keep=tuple(chunk.keep.tolist()),
        base=tuple(chunk.base.tolist()),
        end=Position(last.tensor + 1, 0) if complete else Position(last.tensor, last.end),
        merged=chunk.rows,
        rows=rows[chunk.rows],
    )


def _bytes_before(needs: Needs, position: Position) -> int:
    before = int(needs.read_bytes[: position.tensor].sum())
    if position.tensor == len(needs.numel) or not needs.wanted[position.tensor]:
        return before
    return before + position.element * int(needs.read[position.tensor]) // 8
