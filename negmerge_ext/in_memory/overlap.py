"""Which tensors share memory: ties, and overlaps that make writing in place impossible."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from .. import dtypes
from ..checkpoint.base import FileRows
from ..plan import Plan
from .plain_tensor import raw_view
from .state_dict import MemoryRows

#: Work that proving two interleaved views disjoint may take; beyond it they count as overlapping.
_SHARES_MEMORY_WORK = 100_000

_ITEMSIZE = np.array([dtypes.BITS[name] // 8 for name in sorted(dtypes.CODES, key=dtypes.CODES.__getitem__)])


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
        place = rows.start
    else:
        place = np.stack([rows.file.astype(np.int64), rows.offset], axis=1)
    _, inverse, count = np.unique(place, axis=0, return_inverse=True, return_counts=True)
    tied: dict[int, int] = {}
    first: dict[object, int] = {}
    for index in np.flatnonzero(count[inverse.reshape(-1)] > 1).tolist():
        tensor = tensors[index]
        if tensor.numel == 0:
            continue
        strides = _strides(rows, index, tensor.shape)
        key = (tuple(np.atleast_1d(place[index]).tolist()), tensor.dtype, tensor.shape, strides)
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
    order = [index for index in np.argsort(low, kind="stable").tolist() if index not in tied]
    for place, index in enumerate(order):
        for later in order[place + 1 :]:
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
    everything = np.arange(len(plan.tensors))
    merged = np.array(plan.merged, np.int64)
    numel = np.array([plan.tensors[index].numel for index in plan.merged], np.int64)
    low, high = _spans(out)
    writer = everything.copy()
    writer[list(tied)] = list(tied.values())
    written = np.flatnonzero((writer == everything) & (high > low))
    written = written[np.argsort(low[written], kind="stable")]
    reach = np.maximum.accumulate(high[written])
    inputs: list[tuple[int | None, Any, np.ndarray]] = [(None, plan.base, everything)]
    inputs += [(model, rows, merged) for model, rows in enumerate(plan.finetuned)]
    for model, rows, indices in inputs:
        if not isinstance(rows, MemoryRows):
            continue
        if model is None:
            begin, end = _spans(rows)
        else:
            begin, end = _spans(rows, numel * _ITEMSIZE[plan.finetuned_dtypes[model]])
        first = np.searchsorted(reach, begin, side="right")
        last = np.searchsorted(low[written], end, side="left")
        for position in np.flatnonzero((first < last) & (begin < end)).tolist():
            index = int(indices[position])
            for target in written[first[position] : last[position]].tolist():
                own = writer[index] == target and _same_memory(out, target, rows, position)
                if not own and _shares_memory(out, target, rows, position):
                    yield target, model, index


def _spans(rows: MemoryRows, nbytes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """First byte of each tensor and the one past its last; ``nbytes`` if known, int64 ``[tensors]``."""
    if nbytes is None:
        nbytes = np.array([value.nbytes for value in rows.values], np.int64)
    low, high = rows.start.copy(), rows.start + nbytes
    for index in np.flatnonzero(~rows.row_major).tolist():
        raw = raw_view(rows.values[index])
        steps = [s * (n - 1) for s, n in zip(raw.strides, raw.shape, strict=True)]
        low[index] = rows.start[index] + sum(min(step, 0) for step in steps)
        high[index] = rows.start[index] + sum(max(step, 0) for step in steps) + raw.itemsize
    return low, high


def _strides(rows: MemoryRows | FileRows, index: int, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Strides of the dimensions that have any, ``None`` for packed row-major order."""
    if isinstance(rows, MemoryRows):
        strides = None if rows.row_major[index] else raw_view(rows.values[index]).strides
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
    raw, raw_other = raw_view(a), raw_view(b)
    shape = raw.shape
    return raw.dtype == raw_other.dtype and (_strides(rows, index, shape) == _strides(others, other, shape))


def _shares_memory(rows: MemoryRows, index: int, others: MemoryRows, other: int) -> bool:
    a, b = raw_view(rows.values[index]), raw_view(others.values[other])
    try:
        return bool(np.shares_memory(a, b, max_work=_SHARES_MEMORY_WORK))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
