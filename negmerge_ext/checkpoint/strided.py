"""Gathering elements of a strided tensor from its file."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence

import numpy as np

from ..errors import CheckpointError, SourceChangedError
from .base import SourceFile


def gather_elements(
    descriptor: int,
    file: SourceFile,
    offset: int,
    strides: Sequence[int],
    shape: Sequence[int],
    itemsize: int,
    begin: int,
    end: int,
    buffer: memoryview,
) -> None:
    """Copy the elements [begin, end) of a strided tensor, counted in row-major order, to ``buffer``.

    Arguments as for :meth:`~negmerge_ext.checkpoint.files.FileReader.read_elements`. The file is mapped for
    the duration of the call, as neighbours in row-major order may lie far apart in it, and nothing is
    allocated. Raises :class:`~negmerge_ext.errors.SourceChangedError` if the file has become too short.
    """
    if begin == end:
        return
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    stop = offset + span * itemsize
    # Touching a mapping beyond the end of its file kills the process, so ask anew each time.
    if os.fstat(descriptor).st_size < stop:
        raise source_changed(file, f"is shorter than {stop} bytes; it had {file.size} when it was opened")
    try:
        mapping = mmap.mmap(descriptor, stop, access=mmap.ACCESS_READ)
    except OSError as problem:
        raise CheckpointError(
            f"cannot be mapped into memory: {problem.strerror}", path=file.path
        ) from problem
    # Unsigned integers of the elements' size carry any dtype's bits and are what numpy copies fastest.
    element = np.dtype(f"u{itemsize}" if itemsize in (1, 2, 4, 8) else f"V{itemsize}")
    axes = [(size, stride * itemsize) for size, stride in zip(shape, strides, strict=True) if size != 1]
    source: np.ndarray = np.ndarray(
        [size for size, _ in axes], element, mapping, offset, [stride for _, stride in axes]
    )
    _copy_flat_range(source, begin, end, np.frombuffer(buffer, element))


def source_changed(file: SourceFile, fault: str) -> SourceChangedError:
    """The error for a file that is not what it was when its metadata was read."""
    return SourceChangedError(fault, path=file.path, remedy="Run the merge again when nothing writes to it")


def _copy_flat_range(source: np.ndarray, begin: int, end: int, target: np.ndarray) -> None:
    """Copy elements [begin, end) of ``source`` in row-major order to the one-dimensional ``target``."""
    if source.ndim == 0:
        target[0] = source
        return
    if source.ndim == 1:
        target[:] = source[begin:end]
        return
    row = math.prod(source.shape[1:])
    first, last = -(-begin // row), end // row
    if first > last:  # within one row
        _copy_flat_range(source[last], begin - last * row, end - last * row, target)
        return
    head, body = first * row - begin, (last - first) * row
    if head:
        _copy_flat_range(source[first - 1], row - head, row, target[:head])
    target[head : head + body].reshape(last - first, *source.shape[1:])[...] = source[first:last]
    if head + body < len(target):
        _copy_flat_range(source[last], 0, end - last * row, target[head + body :])
