"""Fitting a streaming merge into a memory budget: how large its chunks are, how many threads work.

A chunk passes through a *frame*: its output, and those inputs that the kernel cannot read from their files
itself. Frames are few and used in turn, so that reading, merging and writing overlap. What the kernel reads
itself takes a fixed scratch for each of its threads, whatever the number of models; on a CUDA device, pinned
memory for each of its workers.

Where a size below has figures, they are times of a merge of 2.4 GB in tmpfs (N = 8) over those with the size
that stands here, medians of 11 interleaved rounds, two Zen 4 cores; the others are reasoned.
``benchmarks/memory.py`` shows that what a merge takes stays within ``max_memory``; ``out_of_core.py`` and
``gpu_files.py`` there show its time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import native
from ..checkpoint.base import FileRows
from ..checkpoint.strided import SCRATCH as GATHERING_SCRATCH
from ..errors import MemoryBudgetError
from ..in_memory.device_memory import CPU
from ..in_memory.state_dict import MemoryRows
from ..plan import Plan
from .buffers import ALIGNMENT, align
from .chunks import Capacity
from .file_device import device_of_files
from .needs import Needs
from .reads import THREADS
from .workers import Workers, least_on_device, threads_of_cpu, workers_of_device

#: Bytes a merge may take if the user does not say: more than full frames and the scratches of many threads
#: take, and little beside the memory of a machine that models are used on.
DEFAULT_MEMORY = 512 << 20

#: One chunk is read, one is merged, one is written. Two take 0.96 of the time and four 0.99 where all lies in
#: memory; on a disk two would leave it idle while a chunk is merged.
FRAMES = 3

#: A frame is to be long beside what happens once for each chunk (a plan, a write, an entry of the journal),
#: and no longer: three of them count in every merge's memory. 4 MiB take 1.07 of the time, 8 take 1.03, 32
#: and 64 take 0.98. Those that models are gathered in hold all models' part: there (N = 4, 0.7 GB) 16 MiB
#: take 1.54 of the time, 32 take 1.15 and 128 take 1.06.
_LARGEST_FRAME = 16 << 20
_LARGEST_GATHERING_FRAME = 64 << 20
#: Bytes that one chunk reads, so that progress is seen and an interrupt need not wait long: a quarter of a
#: second where 1 GB/s is read. Above that only where a block of all models takes more. Chunks of many models
#: are smaller by it. 64 MiB take 1.05 of the time; 128, 512 and 1024 are alike (0.99).
_MOST_READ = 256 << 20
#: Bounds on a chunk's bookkeeping: pieces, and pieces times models. They keep tables of a chunk to a few
#: hundred kilobytes, within the reserve below; models of many tiny tensors would have longer chunks without
#: them.
_MOST_PIECES = 1024
_MOST_ENTRIES = 16384

#: A device makes short work of chunks, and between two of them it has little to do: so they are four times as
#: long.
_LARGEST_DEVICE_FRAME = 64 << 20
_MOST_READ_FOR_DEVICE = 1 << 30

#: What each of the kernel's threads reads into.
_SCRATCH = native.SCRATCH

#: Thread stacks, allocator arenas, bookkeeping of the chunks in flight. An allowance, not a sum of what they
#: take: a merge that exceeds ``max_memory`` would show that it is too small.
_RESERVE = 8 << 20
#: Python objects that describe a model's files and a tensor of base and output; allowances, too.
_PER_MODEL = 2 << 10
_PER_TENSOR = 2 << 10
#: What gathering tensors that are not stored in row-major order takes.
_GATHERS = THREADS * GATHERING_SCRATCH


@dataclass(frozen=True, slots=True)
class Shape:
    """How a merge runs.

    capacity: of one chunk. frame: bytes of each frame. device: that merges what lies in files. workers: the
    threads of the CPU, or what works for that device. buffer_bytes: of main memory, all frames and what the
    workers read into. memory_bytes: all that the merge takes there.
    """

    capacity: Capacity
    frame: int
    device: int
    workers: Workers
    buffer_bytes: int
    memory_bytes: int


def fit(
    plan: Plan[object],
    needs: Needs,
    max_memory: int | None,
    *,
    threads: int | None = None,
    histogram: bool = False,
    device: int | None = None,
) -> Shape:
    """The best shape within ``max_memory`` bytes (``None``: :data:`DEFAULT_MEMORY`).

    threads: of the kernel at most; ``None``: the default. device: the one that was asked for; its
    memory, and what its driver takes for itself, do not count. Raises
    :class:`~negmerge_ext.errors.MemoryBudgetError`, naming the least memory that would do.
    """
    budget = DEFAULT_MEMORY if max_memory is None else max_memory
    fixed = fixed_bytes(plan, histogram)
    wanted = needs.wanted
    blocks = np.minimum(needs.numel, native.BLOCK)
    least = int((blocks * needs.frame)[wanted].max(initial=0) + 7) // 8
    useful = int((needs.numel * needs.frame)[wanted].sum() + 7) // 8
    number = device_of_files(plan, device)
    on_cpu = number == CPU
    largest = _LARGEST_FRAME if on_cpu else _LARGEST_DEVICE_FRAME
    most = max(least, _LARGEST_GATHERING_FRAME if needs.models.any() else largest)
    slack = _slack(plan)
    scratch = _SCRATCH if _reads_itself(plan) else 0
    single = Workers(1, scratch) if on_cpu else least_on_device(plan.models, histogram)

    # What devices compute is staged in memory as large as a frame.
    frames = FRAMES + (isinstance(plan.base, MemoryRows) and not plan.base.on_cpu)

    needed = fixed + single.each + frames * align(least + slack)
    if needed > budget:
        raise MemoryBudgetError(
            f"max_memory is {budget} bytes, and this merge needs {needed}",
            remedy=f"Give max_memory (--max-memory) {-(-needed // 2**20)}MiB or more",
        )
    # Workers take up to half of what can be had, so that many of them do not leave frames too small.
    spare = (budget - needed) // 2
    if on_cpu:
        workers = threads_of_cpu(threads, scratch, spare)
    else:
        passing = int((needs.numel * (needs.read + needs.out_item))[needs.merged].sum()) // 8
        workers = workers_of_device(threads, single, spare, passing)
    room = (budget - fixed - workers.nbytes) // frames // ALIGNMENT * ALIGNMENT - slack
    frame = min(useful, most, room)
    buffers = frames * align(frame + slack) + workers.nbytes
    read_at_least = int((blocks * needs.read)[wanted].max(initial=0))
    most_read = _MOST_READ if on_cpu else _MOST_READ_FOR_DEVICE
    return Shape(
        capacity=Capacity(
            costs=np.stack([needs.frame, needs.read]),
            bits=np.array([8 * frame, max(8 * most_read, read_at_least)]),
            pieces=_pieces(plan),
        ),
        frame=align(frame + slack),
        device=number,
        workers=workers,
        buffer_bytes=buffers,
        memory_bytes=buffers + fixed,
    )


def _pieces(plan: Plan[object]) -> int:
    return min(_MOST_PIECES, max(1, _MOST_ENTRIES // max(1, plan.models)))


def _slack(plan: Plan[object]) -> int:
    """Bytes of a frame that alignment takes.

    Output, base, keep bits and every gathered model begin at aligned addresses; keep bits are whole 16-bit
    words.
    """
    gathering = sum(isinstance(rows, FileRows) and bool(rows.strides) for rows in plan.finetuned)
    return (3 + gathering) * ALIGNMENT + align(2 * _pieces(plan))


def _reads_itself(plan: Plan[object]) -> bool:
    """Whether the kernel reads from files."""
    return bool(plan.finetuned) and any(isinstance(rows, FileRows) for rows in (plan.base, *plan.finetuned))


def fixed_bytes(plan: Plan[object], histogram: bool = False) -> int:
    """Bytes of tables and of all that does not depend on how a merge runs."""
    on_disk = [rows for rows in (plan.base, *plan.finetuned) if isinstance(rows, FileRows)]
    tables = sum(rows.file.nbytes + rows.offset.nbytes for rows in on_disk) + plan.finetuned_dtypes.nbytes
    gathers = _GATHERS if any(rows.strides for rows in on_disk) else 0
    counts = 8 * (plan.models + 1) * len(plan.merged) if histogram else 0
    thresholds = 8 * plan.models * len(plan.merged) if plan.options.method.trim else 0
    objects = _PER_MODEL * (plan.models + 1) + _PER_TENSOR * len(plan.tensors)
    return _RESERVE + tables + gathers + objects + counts + thresholds
