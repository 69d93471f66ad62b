"""Which tensors share memory: ties, and overlaps that make writing in place impossible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ..checkpoint.base import FileRows
from ..plan import Plan
from .plain_tensor import footprint
from .state_dict import MemoryRows

#: Work that proving two interleaved views disjoint may take; beyond it they count as overlapping.
_SHARES_MEMORY_WORK = 100_000


class Described(Protocol):
    """What is known of a tensor without its memory."""

    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def numel(self) -> int: ...


def tied_tensors(tensors: Sequence[Described], rows: MemoryRows | FileRows) -> dict[int, int]:
    """Tensors of ``rows`` (one for each of ``tensors``) that are the same memory as an earlier one.

    Maps the index of each to the index of the first of its kind. Same memory means the same address (or
    place in a file), dtype, shape and strides. Empty tensors are never tied.
    """
    if isinstance(rows, MemoryRows):
        place = rows.start[:, np.newaxis]
    else:
        place = np.stack([rows.file.astype(np.int64), rows.offset], axis=1)
    order = np.lexsort(place.T)
    again = (np.diff(place[order], axis=0) == 0).all(axis=1)
    tied: dict[int, int] = {}
    if not again.any():
        return tied
    shared = np.zeros(len(order), bool)
    shared[order[1:]] |= again
    shared[order[:-1]] |= again
    first: dict[object, int] = {}
    for index in np.flatnonzero(shared).tolist():
        tensor = tensors[index]
        if tensor.numel == 0:
            continue
        strides = _strides(rows, index, tensor.shape)
        key = (tuple(place[index].tolist()), tensor.dtype, tensor.shape, strides)
        if first.setdefault(key, index) != index:
            tied[index] = first[key]
    return tied


def overlaps_itself(value: np.ndarray) -> bool:
    """Whether two elements of a strided array may lie in the same place (``expand``, windows)."""
    if value.size == 0:
        return False
    reach = value.itemsize
    for stride, size in sorted((abs(s), n) for s, n in zip(value.strides, value.shape, strict=True) if n > 1):
        if stride < reach:
            return True
        reach += stride * (size - 1)
    return False


def overlaps_within(rows: MemoryRows, tied: dict[int, int]) -> Iterator[tuple[int, int]]:
    """Pairs of tensors of ``rows`` that share memory without being tied."""
    low, high = _spans(rows)
    order = np.argsort(low, kind="stable")
    order = order[~np.isin(order, list(tied))] if tied else order
    if not _cross(low[order], high[order]):
        return
    for place, index in enumerate(order.tolist()):
        for later in order[place + 1 :].tolist():
            if low[later] >= high[index]:
                break
            if _shares_memory(rows, index, rows, later):
                yield index, later


def overlaps_with_inputs(
    plan: Plan[Any], out: MemoryRows, tied: dict[int, int]
) -> Iterator[tuple[int, int | None, int]]:
    """Output tensors that share memory with an input they are not computed from element by element.

    Yields the output's index, the model of the input (``None``: the base) and the input's index. An
    output that is exactly the memory of its own input is no overlap: each element is read before it is
    written. ``tied`` are the ties of ``out``.
    """
    inputs = [
        (model, rows)
        for model, rows in zip((None, *range(plan.models)), (plan.base, *plan.finetuned), strict=True)
        if isinstance(rows, MemoryRows)
    ]
    if not inputs:
        return
    everything = np.arange(len(plan.tensors))
    writer = everything.copy()
    writer[list(tied)] = list(tied.values())
    low, high = _spans(out)
    written = np.flatnonzero((writer == everything) & (high > low))
    # All inputs' tensors one after the other: their spans, and their indices in the plan.
    merged = plan.tensors.merged
    index = np.concatenate([everything if model is None else merged for model, _ in inputs])
    packed = np.concatenate([rows.row_major for _, rows in inputs])
    if packed.all():
        begin = np.concatenate([rows.start for _, rows in inputs])
        end = begin + np.concatenate([rows.sizes for _, rows in inputs])
    else:
        begin, end = np.concatenate([_spans(rows) for _, rows in inputs], axis=1)
    target = writer[index]
    own = packed & out.row_major[target] & (begin == low[target]) & (end == high[target])
    written = written[np.argsort(low[written], kind="stable")]
    if _cross(low[written], high[written]):
        own[:] = False  # what is one output's own may be in another's way
    other = np.flatnonzero(~own & (begin < end))
    # The first output that ends behind an input's begin is one it meets, or it meets none.
    first = np.searchsorted(np.maximum.accumulate(high[written]), begin[other], side="right")
    beyond = np.append(low[written], np.iinfo(np.int64).max)
    meets = beyond[first] < end[other]
    if not meets.any():
        return
    other, first = other[meets], first[meets]
    last = np.searchsorted(low[written], end[other], side="left")
    places = [(model, rows, place) for model, rows in inputs for place in range(len(rows))]
    for position, start, stop in zip(other.tolist(), first.tolist(), last.tolist(), strict=True):
        model, rows, place = places[position]
        for candidate in written[start:stop].tolist():
            same = target[position] == candidate and _same_memory(out, candidate, rows, place)
            if not same and _shares_memory(out, candidate, rows, place):
                yield candidate, model, int(index[position])


def _cross(low: np.ndarray, high: np.ndarray) -> bool:
    """Whether any two spans [low, high) meet; they are sorted by ``low``."""
    return bool((np.maximum.accumulate(high)[:-1] > low[1:]).any())


def _spans(rows: MemoryRows) -> tuple[np.ndarray, np.ndarray]:
    """First byte of each tensor and the one past its last."""
    low, high = rows.start, rows.start + rows.sizes
    if rows.row_major.all():
        return low, high
    low = low.copy()
    for index in np.flatnonzero(~rows.row_major).tolist():
        raw = footprint(rows.values[index])
        steps = [s * (n - 1) for s, n in zip(raw.strides, raw.shape, strict=True)]
        low[index] = rows.start[index] + sum(min(step, 0) for step in steps)
        high[index] = rows.start[index] + sum(max(step, 0) for step in steps) + raw.itemsize
    return low, high


def _strides(rows: MemoryRows | FileRows, index: int, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides of the dimensions that have any, ``None`` for packed row-major order."""
    if isinstance(rows, MemoryRows):
        strides = None if rows.row_major[index] else footprint(rows.values[index]).strides
    else:
        strides = rows.strides.get(index)
    if strides is None:
        return None
    return tuple(stride for stride, size in zip(strides, shape, strict=True) if size > 1)


def _same_memory(rows: MemoryRows, index: int, others: MemoryRows, other: int) -> bool:
    if rows.start[index] != others.start[other]:
        return False
    a, b = rows.values[index], others.values[other]
    if a is b:
        return True
    raw, raw_other = footprint(a), footprint(b)
    shape = raw.shape
    return raw.dtype == raw_other.dtype and (_strides(rows, index, shape) == _strides(others, other, shape))


def _shares_memory(rows: MemoryRows, index: int, others: MemoryRows, other: int) -> bool:
    a, b = footprint(rows.values[index]), footprint(others.values[other])
    try:
        return bool(np.shares_memory(a, b, max_work=_SHARES_MEMORY_WORK))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
