"""Executing a plan in bounded memory: reading, merging and writing chunk by chunk, all at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import TypeAlias

import numpy as np

from .. import dtypes, native
from ..checkpoint.files import FileReader
from ..checkpoint.journal import Position, ResumePoint
from ..options import MODES
from ..plan import Plan
from ..progress import Progress
from ..stats import NATIVE_STATS
from .budget import FRAMES, SLOTS, Shape, fit
from .buffers import Arena
from .chunks import cut
from .needs import Needs, find_needs
from .placing import PlacedChunk, Placement, Rows
from .reads import Readers
from .sinks import Delivery, Sink
from .unchanged import check_unchanged

#: Computes the merged pieces of a chunk from their base: reads ``merged_base``, writes ``merged_out``.
Kernel: TypeAlias = Callable[[PlacedChunk], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to run, with no effect on the result.

    max_memory: bytes that the merge may take, buffers, tables and all; ``None``: 512 MiB. threads: of the
    kernel; ``None``: the default. progress: whether to show a bar, or a function that is called with the
    bytes of input that are done and those of all input.
    """

    max_memory: int | None = None
    threads: int | None = None
    progress: bool | Progress = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found out.

    rows: :data:`~negmerge_ext.stats.NATIVE_STATS` ``[merged tensors]``. histogram: int64
    ``[merged tensors, N + 1]``, sign agreement, if it was asked for.
    """

    rows: np.ndarray
    histogram: np.ndarray | None
    bytes_read: int
    buffer_bytes: int


def run(
    plan: Plan[Rows],
    sink: Sink,
    settings: Settings,
    *,
    histogram: bool = False,
    start: ResumePoint | None = None,
    progress: Progress | None = None,
    kernel: Kernel | None = None,
) -> Result:
    """Execute ``plan`` from ``start`` on (default: the beginning) and deliver its output to ``sink``.

    progress: called in this thread at the start and after every step (``settings.progress`` is for the
    functions that show it). kernel: makes the output of each chunk's merged pieces from their base instead of
    merging models, for a plan that has none.

    The result is the same to the bit for every budget and number of threads. The first error of any thread
    ends all of them and is raised as it is, an interrupt too; no thread outlives the call. At the end all
    input files must still be what they were when the plan was made, else
    :class:`~negmerge_ext.errors.SourceChangedError`. Raises :class:`~negmerge_ext.errors.MemoryBudgetError`
    before anything is read.
    """
    needs = find_needs(plan, sink.wants, histogram=histogram)
    shape = fit(plan, needs, settings.max_memory, histogram=histogram)
    rows = np.zeros(len(plan.merged), NATIVE_STATS) if start is None else start.rows.copy()
    counts = np.zeros((len(plan.merged), plan.models + 1), np.int64) if histogram else None
    position = Position() if start is None else start.position
    total = int(needs.read_bytes.sum())
    done = skipped = _bytes_before(needs, position)
    report = progress or (lambda done, total: None)
    report(done, total)
    with (
        Arena(shape.buffer_bytes) as arena,
        FileReader() as files,
        Readers(files) as readers,
        _Outbox(sink) as outbox,
    ):
        placement = Placement(plan, needs, sink.wants, histogram=histogram)
        steps = _Steps(plan, needs, shape, placement, arena, readers, outbox, position).steps()
        ahead = deque(islice(steps, SLOTS))
        while ahead:
            step = ahead.popleft()
            for reading in step.readings:
                reading.result()
            if kernel is None:
                _merge(plan, step, rows, counts, settings.threads or 0)
            else:
                kernel(step.chunk)
            if step.last:
                outbox.send(step.frame, _delivery(plan, step.chunk, rows))
            done += step.nbytes
            report(done, total)
            ahead.extend(islice(steps, 1))
        outbox.flush()
    check_unchanged(plan)
    return Result(rows=rows, histogram=counts, bytes_read=done - skipped, buffer_bytes=shape.buffer_bytes)


@dataclass(frozen=True, slots=True)
class _Step:
    """Some models of one chunk, being read. nbytes: of input, counting the base with the first models."""

    chunk: PlacedChunk
    frame: int
    addresses: np.ndarray
    dtypes: np.ndarray
    state: native.State | None
    first: bool
    last: bool
    readings: list[Future[None]]
    nbytes: int


class _Steps:
    """Cuts the plan into steps and begins to read each as it is asked for.

    Buffers are used in turn: a step's slot is that of the step :data:`SLOTS` before it, which must have been
    merged; a chunk's frame is that of the chunk :data:`FRAMES` before it, whose writing is waited for.
    """

    def __init__(
        self,
        plan: Plan[Rows],
        needs: Needs,
        shape: Shape,
        placement: Placement,
        arena: Arena,
        readers: Readers,
        outbox: _Outbox,
        start: Position,
    ) -> None:
        self._chunks = cut(plan.tensors, np.flatnonzero(needs.wanted).tolist(), shape.capacity, start)
        # Without models a chunk still is one step.
        starts = range(0, plan.models, shape.models) if plan.models else range(1)
        self._groups = [range(first, min(first + shape.models, plan.models)) for first in starts]
        self._placement = placement
        self._readers = readers
        self._outbox = outbox
        self._frames = [arena.take(shape.frame) for _ in range(FRAMES)]
        self._slots = [arena.take(shape.slot) for _ in range(SLOTS)]
        self._state = arena.take(shape.state)

    def steps(self) -> Iterator[_Step]:
        count = 0
        for number, pieces in enumerate(self._chunks):
            frame = number % FRAMES
            self._outbox.wait(frame)
            chunk, reads = self._placement.chunk(pieces, self._frames[frame])
            groups = self._groups if len(chunk.merged.numel) else [range(0)]
            state = self._placement.state(chunk, self._state) if len(groups) > 1 else None
            for group in groups:
                slot = self._slots[count % SLOTS]
                addresses, codes, model_reads = self._placement.models(chunk, group, slot)
                reads += model_reads
                yield _Step(
                    chunk=chunk,
                    frame=frame,
                    addresses=addresses,
                    dtypes=codes,
                    state=state,
                    first=group is groups[0],
                    last=group is groups[-1],
                    readings=self._readers.submit(reads),
                    nbytes=sum(read.nbytes for read in reads),
                )
                reads = []
                count += 1


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


def _merge(plan: Plan[Rows], step: _Step, rows: np.ndarray, counts: np.ndarray | None, threads: int) -> None:
    chunk = step.chunk
    if len(chunk.merged.numel) == 0:
        return
    tensors = [plan.tensors[tensor] for tensor in chunk.merged.tensor.tolist()]
    stats = rows[chunk.rows]
    histogram = None if counts is None else counts[chunk.rows]
    native.merge(
        method=plan.options.method.code,
        mode=MODES[plan.options.mode],
        scale=plan.options.scale,
        models=plan.models,
        numel=chunk.merged.numel,
        compute=[dtypes.CODES[tensor.compute or "F32"] for tensor in tensors],
        base=chunk.merged_base,
        base_dtype=[dtypes.CODES[tensor.dtype] for tensor in tensors],
        finetuned=step.addresses,
        finetuned_dtype=step.dtypes,
        out=chunk.merged_out,
        out_dtype=[dtypes.CODES[tensor.out_dtype] for tensor in tensors],
        stats=stats,
        keep=chunk.merged_keep,
        histogram=histogram,
        state=step.state,
        begin=step.first,
        end=step.last,
        threads=threads,
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
