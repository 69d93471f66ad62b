"""Gathering elements of a strided tensor from its file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np

#: Most bytes that a gather takes besides its result.
SCRATCH = 512 << 10

#: Gaps up to this are read along with what lies around them, which takes less time than another call.
_GAP = 16 << 10

#: Size, and bytes from one place to the next.
_Axis: TypeAlias = tuple[int, int]


def gather_elements(
    read: Callable[[int, memoryview], None],
    offset: int,
    strides: Sequence[int],
    shape: Sequence[int],
    itemsize: int,
    begin: int,
    end: int,
    buffer: memoryview,
) -> None:
    """Copy the elements [begin, end) of a strided tensor, counted in row-major order, to ``buffer``.

    read: fills memory with the bytes of the file from an offset on. The other arguments are those of
    :meth:`~negmerge_ext.checkpoint.files.FileReader.read_elements`. The file is not mapped: a mapping's pages
    count as memory of the process, and touching them kills it if the file has become shorter.
    """
    if begin == end:
        return
    # Unsigned integers of the elements' size carry any dtype's bits and are what numpy copies fastest.
    element = np.dtype(f"u{itemsize}" if itemsize in (1, 2, 4, 8) else f"V{itemsize}")
    axes = [(size, stride * itemsize) for size, stride in zip(shape, strides, strict=True) if size != 1]
    axes = axes or [(1, itemsize)]
    scratch = np.empty(min(SCRATCH, _span(axes, itemsize)), np.uint8)
    target = np.frombuffer(buffer, element)
    for start, box in _boxes(offset, axes, begin, end):
        sizes = [size for size, _ in box]
        count = math.prod(sizes)
        _gather_box(read, start, box, target[:count].reshape(sizes), scratch)
        target = target[count:]


def _boxes(start: int, axes: list[_Axis], begin: int, end: int) -> Iterator[tuple[int, list[_Axis]]]:
    """Elements [begin, end) in row-major order as boxes: the byte of the first element, and the axes."""
    if begin == end:
        return
    (_, stride), *inner = axes
    row = math.prod(size for size, _ in inner)
    first, last = -(-begin // row), end // row
    if first > last:  # within one row
        yield from _boxes(start + last * stride, inner, begin - last * row, end - last * row)
        return
    yield from _boxes(start + (first - 1) * stride, inner, begin - (first - 1) * row, row)
    if first < last:
        yield start + first * stride, [(last - first, stride), *inner]
    yield from _boxes(start + last * stride, inner, 0, end - last * row)


def _gather_box(
    read: Callable[[int, memoryview], None],
    start: int,
    axes: list[_Axis],
    target: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Copy the elements of ``axes``, whose first one lies at ``start``, to ``target`` of the same shape."""
    stored_order = sorted(range(len(axes)), key=lambda axis: -axes[axis][1])
    axes, target = [axes[axis] for axis in stored_order], target.transpose(stored_order)
    strides = [stride for _, stride in axes]
    steps = _steps(axes, target.itemsize, scratch.size)
    for corner in _corners([range(0, size, step) for (size, _), step in zip(axes, steps, strict=True)]):
        place = target[tuple(slice(at, at + step) for at, step in zip(corner, steps, strict=True))]
        data = scratch[: _span(zip(place.shape, strides, strict=True), target.itemsize)]
        read(start + sum(at * stride for at, stride in zip(corner, strides, strict=True)), data.data)
        place[...] = np.ndarray(place.shape, target.dtype, data, 0, strides)


def _steps(axes: list[_Axis], itemsize: int, room: int) -> list[int]:
    """Places along each axis to read at once: as many as fit without wide gaps, innermost axes first."""
    steps, span = [1] * len(axes), itemsize
    for axis in reversed(range(len(axes))):
        size, stride = axes[axis]
        if stride - span > _GAP:
            break
        steps[axis] = min(size, (room - span) // stride + 1) if stride else size
        span += (steps[axis] - 1) * stride
        if steps[axis] < size:
            break
    return steps


def _corners(axes: Sequence[range]) -> Iterator[tuple[int, ...]]:
    """The product of ranges, which ``itertools.product`` would turn into tuples of any length."""
    if not axes:
        yield ()
        return
    for at in axes[0]:
        for rest in _corners(axes[1:]):
            yield at, *rest


def _span(axes: Iterable[_Axis], itemsize: int) -> int:
    """Bytes from the first element to the end of the last one."""
    return itemsize + sum((size - 1) * stride for size, stride in axes)
