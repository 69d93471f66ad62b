"""Execute what of a plan lies in main memory, inputs and output.

Tensors whose elements are stored in the same order everywhere go to the kernel in one call, straight from
where they are. The few others are merged in pieces through small packed buffers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .. import native
from ..errors import MemoryBudgetError
from ..in_memory.copying import copy_on_cpu
from ..in_memory.plain_tensor import raw_view
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..plan import Plan
from .columns import gather_columns, kernel_arguments, storage_order

#: Memory that packed copies take where the user set no limit.
PACKING_BYTES = 64 << 20

#: Elements per piece below which the calls would cost more than the merge.
_SMALLEST_PIECE = 4096


def merge_in_memory(
    plan: Plan[MemoryRows], target: Target, chosen: np.ndarray, *, threads: int, max_memory: int | None
) -> None:
    """Write the tensors ``chosen``, bool ``[tensors]``, to ``target``: merged, or copied from the base.

    threads: 0 for the default. max_memory: bytes that packed copies of tensors with unlike layouts may take;
    ``None``: 64 MiB, or what pieces of a few thousand elements per model need if that is more. Raises
    :class:`~negmerge_ext.errors.MemoryBudgetError` before anything is written.
    """
    columns = gather_columns(plan, target, chosen)
    index, address, dtype, direct = columns.tensor, columns.address, columns.dtype, columns.direct
    unlike = {
        column: _in_storage_order([raw_view(value) for value in values])
        for column, values in columns.unlike.items()
    }
    if max_memory is not None:
        _check_budget(plan, {int(index[column]): views for column, views in unlike.items()}, max_memory)
    copy_on_cpu(plan.base, target.rows, columns.copied, threads)
    alike = slice(None) if direct.all() else direct
    numel = plan.tensors.table.numel[index[alike]]
    _merge_addresses(plan, index[alike], numel, address[:, alike], dtype[:, alike], threads)
    for column, views in unlike.items():
        room = max(_smallest_room(views), PACKING_BYTES if max_memory is None else max_memory)
        one = slice(column, column + 1)
        _merge_in_pieces(plan, index[one], views, dtype[:, one], threads, room)


def _check_budget(plan: Plan[MemoryRows], unlike: dict[int, list[np.ndarray]], max_memory: int) -> None:
    """unlike: views of tensors that are merged in pieces, by plan index."""
    needed = {index: _smallest_room(views) for index, views in unlike.items()}
    index = max(needed, key=needed.__getitem__, default=None)
    if index is not None and needed[index] > max_memory:
        raise MemoryBudgetError(
            f"max_memory is {max_memory} bytes, and packed copies of its pieces need {needed[index]}",
            tensor=plan.tensors[index].name,
            remedy=f"Give max_memory {-(-needed[index] // 2**20)}MiB or more, "
            "or give the tensor the same memory layout everywhere",
        )


def _smallest_room(views: list[np.ndarray]) -> int:
    """Bytes that packed copies of the smallest pieces of a tensor take."""
    return min(_SMALLEST_PIECE, views[0].size) * _packed_itemsize(views)


def _packed_itemsize(views: list[np.ndarray]) -> int:
    return sum(view.itemsize for view in views if not view.flags.c_contiguous)


def _merge_addresses(
    plan: Plan[MemoryRows],
    index: np.ndarray,
    numel: np.ndarray,
    address: np.ndarray,
    dtype: np.ndarray,
    threads: int,
) -> None:
    """address, dtype: ``[models + 2, tensors]``, the base first and the output last."""
    native.merge(**kernel_arguments(plan, index, numel, address, dtype), threads=threads)


def _merge_in_pieces(
    plan: Plan[MemoryRows],
    index: np.ndarray,
    views: list[np.ndarray],
    dtype: np.ndarray,
    threads: int,
    room: int,
) -> None:
    """Merge one tensor given as views of equal shape (base, models, output) but unlike memory order.

    room: bytes for packed copies, at least :func:`_smallest_room`.
    """
    limit = room // _packed_itemsize(views)
    buffers = [
        None if view.flags.c_contiguous else np.empty(min(limit, view.size), view.dtype) for view in views
    ]
    for piece in _pieces(views[0].shape, limit):
        parts = [view[piece] for view in views]
        packed = [_packed(part, buffer) for part, buffer in zip(parts, buffers, strict=True)]
        for part, copy in zip(parts[:-1], packed[:-1], strict=True):
            if copy is not part:
                np.copyto(copy, part)
        address = np.array([[copy.ctypes.data] for copy in packed], np.int64)
        _merge_addresses(plan, index, np.array([parts[0].size]), address, dtype, threads)
        if packed[-1] is not parts[-1]:
            np.copyto(parts[-1], packed[-1])


def _packed(part: np.ndarray, buffer: np.ndarray | None) -> np.ndarray:
    """``part`` itself if it is packed in row-major order, else room for a packed copy in ``buffer``."""
    if buffer is None or part.flags.c_contiguous:
        return part
    return buffer[: part.size].reshape(part.shape)


def _in_storage_order(views: list[np.ndarray]) -> list[np.ndarray]:
    """Permute the dimensions of all views so that the first one's elements come in the order of memory."""
    order = storage_order(views[0].strides)
    return [view.transpose(order) for view in views]


def _pieces(shape: tuple[int, ...], limit: int) -> Iterator[tuple[int | slice, ...]]:
    """Indices of consecutive parts of at most ``limit`` elements, in row-major order."""
    axis = 0
    while math.prod(shape[axis + 1 :]) > limit:
        axis += 1
    step = max(1, limit // max(1, math.prod(shape[axis + 1 :])))
    for prefix in np.ndindex(*shape[:axis]):
        for begin in range(0, shape[axis], step):
            yield (*prefix, slice(begin, begin + step))
