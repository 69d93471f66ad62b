"""Execute what of a plan lies on a CUDA device: on torch's current stream there, without waiting for it.

Memory (a table of the tensors, copies of those that are stored in unlike orders) is had from torch, so that
all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import native_cuda
from ..in_memory import device_memory
from ..in_memory.copying import copy_elements, copy_on_device, packed_copy, packed_room
from ..in_memory.plain_tensor import Value
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..options import MODES
from ..plan import Plan
from ..stats import NATIVE_STATS
from .columns import Columns, gather_columns, storage_order

if TYPE_CHECKING:
    import torch


def merge_on_device(plan: Plan[MemoryRows], target: Target, device: int, chosen: np.ndarray) -> None:
    """Write the tensors ``chosen``, bool ``[tensors]``, to ``target``: merged, or copied from the base.

    They are merged in one call, but for those whose elements are stored in unlike orders: these are copied
    whole, one tensor at a time. Raises :class:`~negmerge_ext.errors.DeviceError` and
    :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    columns = gather_columns(plan, target, chosen)
    with device_memory.cuda.launching(device) as stream:
        copy_on_device(plan.base, target.rows, columns.copied)
        alike = slice(None) if columns.direct.all() else columns.direct
        _merge_columns(plan, columns, alike, columns.address[:, alike], device, stream)
        for column, values in columns.unlike.items():
            one = slice(column, column + 1)
            _merge_unlike(plan, columns, one, values, device, stream)


def _merge_columns(
    plan: Plan[MemoryRows],
    columns: Columns,
    which: slice | np.ndarray,
    address: np.ndarray,
    device: int,
    stream: int,
) -> None:
    index, dtype = columns.tensor[which], columns.dtype[:, which]
    launch(
        device,
        stream,
        method=plan.options.method.code,
        mode=MODES[plan.options.mode],
        scale=plan.options.scale,
        models=plan.models,
        numel=plan.tensors.table.numel[index],
        compute=plan.tensors.compute[index].astype(np.uint8),
        base=address[0],
        base_dtype=dtype[0],
        finetuned=np.ascontiguousarray(address[1:-1].T),
        finetuned_dtype=np.ascontiguousarray(dtype[1:-1].T),
        out=address[-1],
        out_dtype=dtype[-1],
    )


def _merge_unlike(
    plan: Plan[MemoryRows], columns: Columns, one: slice, values: list[Any], device: int, stream: int
) -> None:
    """Merge the tensor of one column, whose base, models and output are ``values``."""
    order = storage_order(values[0].stride())
    views = [value.detach().permute(order) for value in values]
    packed: list[tuple[Value, int]] = [
        (view, view.data_ptr()) if view.is_contiguous() else packed_copy(view) for view in views[:-1]
    ]
    out = views[-1]
    packed.append((out, out.data_ptr()) if out.is_contiguous() else packed_room(out))
    address = np.array([[start] for _, start in packed], np.int64)
    _merge_columns(plan, columns, one, address, device, stream)
    if packed[-1][0] is not out:
        copy_elements(packed[-1][0], out)


def launch(
    device: int,
    stream: int,
    *,
    numel: np.ndarray,
    finetuned: np.ndarray,
    stats: torch.Tensor | None = None,
    histogram: torch.Tensor | None = None,
    **arguments: Any,
) -> None:
    """:func:`negmerge_ext.native_cuda.merge` with the memory that it works in.

    stats, histogram: memory on the device that native rows and int64 ``[tensors, N + 1]`` are added to.
    """
    if len(numel) == 0:
        return
    given = finetuned.size // len(numel)
    size = native_cuda.workspace_bytes(numel, given, stats is not None)
    workspace = device_memory.cuda.empty(size, device)
    native_cuda.merge(
        device=device,
        stream=stream,
        numel=numel,
        finetuned=finetuned,
        workspace=workspace.data_ptr(),
        workspace_size=size,
        stats=0 if stats is None else stats.data_ptr(),
        histogram=0 if histogram is None else histogram.data_ptr(),
        **arguments,
    )


def zeros(nbytes: int, device: int) -> torch.Tensor:
    """Memory on a device that is zero, for statistics; see :meth:`TorchCuda.empty`."""
    return device_memory.cuda.empty(nbytes, device).zero_()


def rows_of(stats: torch.Tensor) -> np.ndarray:
    """Native statistics that were collected on a device; waits for it."""
    return stats.cpu().numpy().view(NATIVE_STATS)
