"""Execute a plan whose inputs and output all lie in memory.

Tensors whose elements are stored in the same order everywhere go to the kernel in one call, straight from
where they are. The few others are merged in pieces through small packed buffers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from .. import native
from ..dtypes import CODES
from ..errors import MemoryBudgetError
from ..in_memory.plain_tensor import raw_view
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..options import MODES
from ..plan import Plan
from ..stats import NATIVE_STATS

#: Memory that packed copies take where the user set no limit.
PACKING_BYTES = 64 << 20

#: Elements per piece below which the calls would cost more than the merge.
_SMALLEST_PIECE = 4096


def merge_in_memory(plan: Plan[MemoryRows], target: Target, *, threads: int, max_memory: int | None) -> None:
    """Write every tensor of the plan to ``target``: merged, or copied from the base.

    threads: 0 for the default. max_memory: bytes that packed copies of tensors with unlike layouts may take;
    ``None``: 64 MiB, or what pieces of a few thousand elements per model need if that is more. Tied tensors
    are written once. Raises :class:`~negmerge_ext.errors.MemoryBudgetError` before anything is written.
    """
    wanted = [(place, index) for place, index in enumerate(plan.merged) if index not in target.tied]
    place, index = np.array(wanted, np.int64).reshape(-1, 2).T
    base, out = plan.base, target.rows
    # Columns: the base, the fine-tuned models in order, the output.
    address = np.stack(
        [base.start[index], *(m.start[place] for m in plan.finetuned), out.start[index]], axis=1
    )
    dtype = np.stack(
        [_codes(plan, index, "dtype"), *plan.finetuned_dtypes[:, place], _codes(plan, index, "out_dtype")],
        axis=1,
    )
    direct = base.row_major[index] & out.row_major[index]
    for model in plan.finetuned:
        direct &= model.row_major[place]
    unlike: dict[int, list[np.ndarray]] = {}
    for row in np.flatnonzero(~direct).tolist():
        p, i = wanted[row]
        values = [base.values[i], *(model.values[p] for model in plan.finetuned), out.values[i]]
        views = _in_storage_order([raw_view(value) for value in values])
        direct[row] = all(view.flags.c_contiguous for view in views)
        if not direct[row]:
            unlike[row] = views

    if max_memory is not None:
        _check_budget(plan, {wanted[row][1]: views for row, views in unlike.items()}, max_memory)
    _copy(plan, target)
    numel = [plan.tensors[i].numel for i in index[direct].tolist()]
    _merge_addresses(plan, index[direct], numel, address[direct], dtype[direct], threads)
    for row, views in unlike.items():
        room = max(_smallest_room(views), PACKING_BYTES if max_memory is None else max_memory)
        _merge_in_pieces(plan, index[row : row + 1], views, dtype[row : row + 1], threads, room)


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


def _copy(plan: Plan[MemoryRows], target: Target) -> None:
    for index, tensor in enumerate(plan.tensors):
        if not tensor.merged and index not in target.tied:
            source, destination = plan.base.values[index], target.rows.values[index]
            if source is not destination:
                np.copyto(raw_view(destination), raw_view(source))


def _merge_addresses(
    plan: Plan[MemoryRows],
    index: np.ndarray,
    numel: Sequence[int],
    address: np.ndarray,
    dtype: np.ndarray,
    threads: int,
) -> None:
    native.merge(
        method=plan.options.method.code,
        mode=MODES[plan.options.mode],
        scale=plan.options.scale,
        models=plan.models,
        numel=numel,
        compute=_codes(plan, index, "compute"),
        base=address[:, 0],
        base_dtype=dtype[:, 0],
        finetuned=address[:, 1:-1],
        finetuned_dtype=dtype[:, 1:-1],
        out=address[:, -1],
        out_dtype=dtype[:, -1],
        stats=np.zeros(len(numel), NATIVE_STATS),
        threads=threads,
    )


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
        address = np.array([[copy.ctypes.data for copy in packed]], np.int64)
        _merge_addresses(plan, index, [parts[0].size], address, dtype, threads)
        if packed[-1] is not parts[-1]:
            np.copyto(parts[-1], packed[-1])


def _packed(part: np.ndarray, buffer: np.ndarray | None) -> np.ndarray:
    """``part`` itself if it is packed in row-major order, else room for a packed copy in ``buffer``."""
    if buffer is None or part.flags.c_contiguous:
        return part
    return buffer[: part.size].reshape(part.shape)


def _in_storage_order(views: list[np.ndarray]) -> list[np.ndarray]:
    """Permute the dimensions of all views so that the first one's elements come in the order of memory."""
    strides = views[0].strides
    order = sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))
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


def _codes(plan: Plan[MemoryRows], index: np.ndarray, field: str) -> np.ndarray:
    """Native codes of a dtype field of the planned tensors."""
    tensors = plan.tensors
    return np.array([CODES[getattr(tensors[i], field)] for i in index.tolist()], np.uint8)
