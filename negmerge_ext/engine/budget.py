"""Fitting a streaming merge into a memory budget: how large its chunks are, how many models at a time.

A chunk passes through a *frame* (its base and output bytes), and the fine-tuned models through *slots*
(the bytes of some models for one chunk). Frames and slots are few and used in turn, so that reading,
merging and writing overlap. If a slot can hold all N models in long enough reads, each chunk is merged in
one call; otherwise in groups of models, with running sums and sign masks kept in a *state*.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np

from .. import native
from ..checkpoint.base import FileRows
from ..checkpoint.strided import SCRATCH
from ..errors import MemoryBudgetError
from ..plan import Plan
from .buffers import ALIGNMENT, align
from .chunks import Capacity
from .needs import Needs
from .reads import THREADS

#: Bytes a merge may take if the user does not say.
DEFAULT_MEMORY = 512 << 20

#: One chunk is read, one is merged, one is written.
FRAMES = 3
#: Models of one step are merged while those of the next are read.
SLOTS = 2

#: Longer reads than this bring nothing; shorter ones make it worth while to take models in groups.
_LONGEST_READ = 2 << 20
_SHORTEST_READ = 512 << 10
#: Larger slots than this bring nothing.
_LARGEST_SLOT = 64 << 20
#: The same for frames, where there are no models to read.
_LARGEST_FRAME = 16 << 20
#: Models in a group, if the budget allows: the state is read and written once for each group.
_GROUP = 32
#: Bounds on a step's bookkeeping: pieces of a chunk, and pieces times models.
_MOST_PIECES = 1024
_MOST_ENTRIES = 4096

#: Thread stacks, allocator arenas, bookkeeping of the steps in flight.
_RESERVE = 8 << 20
#: Python objects that describe a model's files and a tensor of base and output.
_PER_MODEL = 2 << 10
_PER_TENSOR = 2 << 10
#: What gathering tensors that are not stored in row-major order takes.
_GATHERS = THREADS * SCRATCH


@dataclass(frozen=True, slots=True)
class Shape:
    """The buffers of a merge.

    capacity: of one chunk. models: given to one native call. frame, slot, state: bytes of each buffer.
    fixed: bytes that the merge takes besides buffers.
    """

    capacity: Capacity
    models: int
    frame: int
    slot: int
    state: int
    fixed: int

    @property
    def buffer_bytes(self) -> int:
        return _total(self.frame, self.slot, self.state)

    @property
    def memory_bytes(self) -> int:
        """All that the merge takes."""
        return self.buffer_bytes + self.fixed


def fit(plan: Plan[object], needs: Needs, max_memory: int | None, *, histogram: bool = False) -> Shape:
    """The best shape within ``max_memory`` bytes (``None``: :data:`DEFAULT_MEMORY`).

    Raises :class:`~negmerge_ext.errors.MemoryBudgetError`, naming the least that would do.
    """
    budget = DEFAULT_MEMORY if max_memory is None else max_memory
    sizer = _Sizer(needs, plan.models, _fixed_bytes(plan, histogram))
    models = plan.models
    elements = sizer.most_elements(budget, models)
    if models > 1 and elements < min(sizer.total, sizer.elements_of(_SHORTEST_READ)):
        models, elements = _grouped(sizer, budget)
    if elements < sizer.least:
        needed = min(sizer.memory(sizer.least, models) for models in (plan.models, *_groups(plan.models)))
        raise MemoryBudgetError(
            f"max_memory is {budget} bytes, and this merge needs {needed}",
            remedy=f"Give max_memory (--max-memory) {-(-needed // 2**20)}MiB or more",
        )
    largest = _LARGEST_SLOT // models if models else _LARGEST_FRAME
    elements = min(elements, sizer.total, max(sizer.elements_of(largest), native.BLOCK))
    return sizer.shape(elements, models)


def _groups(models: int) -> list[int]:
    """Numbers of models at a time that are worth trying, the best first."""
    return [size for size in (_GROUP >> step for step in range(_GROUP.bit_length())) if size < models]


def _grouped(sizer: _Sizer, budget: int) -> tuple[int, int]:
    """Models at a time, and elements, when not all models fit at once in long reads."""
    models, elements = sizer.models, sizer.most_elements(budget, sizer.models)
    for size in _groups(sizer.models):
        if elements >= min(sizer.total, sizer.elements_of(_SHORTEST_READ)):
            break
        fitting = sizer.most_elements(budget, size)
        if fitting > elements:
            models, elements = size, fitting
    elements = min(elements, max(sizer.elements_of(_LONGEST_READ), sizer.least))
    most = max(models, min(sizer.models, _LARGEST_SLOT // sizer.read_of(elements)))
    more = bisect_right(range(models + 1, most + 1), budget, key=lambda size: sizer.memory(elements, size))
    return models + more, elements


class _Sizer:
    """Memory of a merge by the elements of a chunk and the models of a call.

    models: N. total: elements to merge; least: the fewest that a chunk must be able to hold.
    """

    def __init__(self, needs: Needs, models: int, fixed: int) -> None:
        merged, copied = needs.merged & needs.wanted, needs.wanted & ~needs.merged
        self.models = models
        self.total = int(needs.numel[merged].sum())
        self.least = min(self.total, native.BLOCK)
        self._fixed = fixed
        self._costs = np.stack([needs.frame, needs.model, needs.state])
        self._most: list[int] = self._costs[:, merged].max(axis=1, initial=0).tolist()
        blocks = np.minimum(needs.numel, native.BLOCK) * needs.frame
        self._copied_bits = int(blocks[copied].max(initial=0))

    def elements_of(self, read: int) -> int:
        """Elements of which a read of so many bytes of a model (else of the base) consists, whole blocks."""
        bits: int = self._most[1] or self._most[0]
        return 8 * read // bits // native.BLOCK * native.BLOCK if bits else self.total

    def read_of(self, elements: int) -> int:
        """Bytes of a model in a chunk, at least 1."""
        return max(1, elements * self._most[1] // 8)

    def most_elements(self, budget: int, models: int) -> int:
        """The most elements of a chunk, whole blocks or all, within ``budget`` bytes; negative: none fit."""
        if self.memory(self.total, models) <= budget:
            return self.total
        blocks = range(self.total // native.BLOCK + 1)
        fitting = bisect_right(blocks, budget, key=lambda block: self.memory(block * native.BLOCK, models))
        return (fitting - 1) * native.BLOCK

    def memory(self, elements: int, models: int) -> int:
        """Bytes that a merge takes with chunks of ``elements``."""
        return _total(*self._buffers(elements, models)) + self._fixed

    def shape(self, elements: int, models: int) -> Shape:
        """Buffers for chunks of ``elements``."""
        kinds = 3 if models < self.models else 2
        bits = [elements * most for most in self._most[:kinds]]
        bits[0] = max(bits[0], self._copied_bits)
        frame, slot, state = self._buffers(elements, models)
        return Shape(
            capacity=Capacity(self._costs[:kinds], np.array(bits), _pieces(models)),
            models=models,
            frame=frame,
            slot=slot,
            state=state,
            fixed=self._fixed,
        )

    def _buffers(self, elements: int, models: int) -> tuple[int, int, int]:
        """Bytes of a frame, a slot and the state."""
        frame, model, state = (elements * most for most in self._most)
        pieces = _pieces(models)
        return (
            # Output, base and keep bits begin at aligned addresses; keep bits are whole 16-bit words.
            _bytes(max(frame, self._copied_bits)) + 3 * ALIGNMENT + align(2 * pieces),
            models * _bytes(model) if model else 0,
            # So do the four parts of the state of every piece.
            _bytes(state) + 4 * pieces * ALIGNMENT if models < self.models else 0,
        )


def _total(frame: int, slot: int, state: int) -> int:
    return FRAMES * frame + SLOTS * slot + state


def _pieces(models: int) -> int:
    return min(_MOST_PIECES, max(1, _MOST_ENTRIES // max(1, models)))


def _bytes(bits: int) -> int:
    return align(-(-bits // 8)) + ALIGNMENT


def _fixed_bytes(plan: Plan[object], histogram: bool) -> int:
    on_disk = [rows for rows in (plan.base, *plan.finetuned) if isinstance(rows, FileRows)]
    tables = sum(rows.file.nbytes + rows.offset.nbytes for rows in on_disk) + plan.finetuned_dtypes.nbytes
    gathers = _GATHERS if any(rows.strides for rows in on_disk) else 0
    counts = 8 * (plan.models + 1) * len(plan.merged) if histogram else 0
    objects = _PER_MODEL * (plan.models + 1) + _PER_TENSOR * len(plan.tensors)
    return _RESERVE + tables + gathers + objects + counts
