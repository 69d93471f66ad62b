"""Execute what of a plan lies on a CUDA device: on torch's current stream there, without waiting for it.

Memory (a table of the tensors, copies of those that are stored in unlike orders) is had from torch, so that
all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import native_cuda
from ..in_memory import device_memory
from ..in_memory.copying import copy_elements, copy_on_device, packed_copy, packed_room
from ..in_memory.plain_tensor import Value
from ..in_memory.room import Room
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..native import Column
from ..options import MODES
from ..plan import Plan
from .columns import Columns, gather_columns, storage_order

if TYPE_CHECKING:
    import torch


class DeviceMerge:
    """The tensors ``chosen``, bool ``[tensors]``, of a plan, all on one device.

    They are merged in one call, but for those whose elements are stored in unlike orders: these are copied
    whole, one tensor at a time. Raises :class:`~negmerge_ext.errors.DeviceMemoryError` if there is no memory
    for that, which is taken here, before anything is written, and given back to torch, who keeps it.
    """

    def __init__(self, plan: Plan[MemoryRows], target: Target, device: int, chosen: np.ndarray) -> None:
        self._plan = plan
        self._target = target
        self._device = device
        self._columns = gather_columns(plan, target, chosen)
        self._rehearse()

    def _rehearse(self) -> None:
        columns = self._columns
        numel = self._plan.tensors.table.numel[columns.tensor[columns.direct]]
        sizes = [native_cuda.workspace_bytes(numel, self._plan.models, False)]
        copies = ([value.nbytes for value in values] for values in columns.unlike.values())
        sizes += max(copies, key=sum, default=[])
        rooms = [Room(size, self._device) for size in sizes]
        del rooms

    def run(self) -> None:
        """Write the tensors: merged, or copied from the base.

        Raises :class:`~negmerge_ext.errors.DeviceError`.
        """
        columns, device = self._columns, self._device
        copy_on_device(self._plan.base, self._target.rows, columns.copied, device)
        alike = slice(None) if columns.direct.all() else columns.direct
        _merge_columns(self._plan, columns, alike, columns.address[:, alike], device)
        for column, values in columns.unlike.items():
            _merge_unlike(self._plan, columns, slice(column, column + 1), values, device)


def _merge_columns(
    plan: Plan[MemoryRows],
    columns: Columns,
    which: slice | np.ndarray,
    address: np.ndarray,
    device: int,
) -> None:
    index, dtype = columns.tensor[which], columns.dtype[:, which]
    merge_batch(
        device,
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
        thresholds=plan.thresholds_of(index),
    )


def _merge_unlike(
    plan: Plan[MemoryRows], columns: Columns, one: slice, values: list[Any], device: int
) -> None:
    """Merge the tensor of one column, whose base, models and output are ``values``."""
    order = storage_order(values[0].stride())
    views = [value.detach().permute(order) for value in values]
    out = views[-1]
    packed: list[tuple[Value, int]] = [
        (view, view.data_ptr()) if _is_packed(view) else packed_copy(view) for view in views[:-1]
    ]
    packed.append((out, out.data_ptr()) if _is_packed(out) else packed_room(out))
    address = np.array([[start] for _, start in packed], np.int64)
    _merge_columns(plan, columns, one, address, device)
    if packed[-1][0] is not out:
        copy_elements(packed[-1][0], out)


def _is_packed(view: torch.Tensor) -> bool:
    return view.is_contiguous() and view.data_ptr() % view.element_size() == 0


def merge_batch(
    device: int,
    *,
    numel: Column,
    finetuned: Column,
    stats: np.ndarray | None = None,
    histogram: np.ndarray | None = None,
    workspace: Room | None = None,
    **columns: Any,
) -> None:
    """:func:`negmerge_ext.native.merge` of tensors on a device, given by their addresses there.

    stats, histogram: as for the CPU, in main memory; if there are any, the device is waited for. workspace:
    room for a call without statistics, if it was taken already.
    """
    if len(numel) == 0:
        return
    with device_memory.cuda.launching(device) as stream:
        given = np.size(finetuned) // len(numel)
        size = native_cuda.workspace_bytes(numel, given, stats is not None)
        if workspace is None:
            workspace = Room(size, device)
        rows = None if stats is None else _copied_to(device, stats)
        bins = None if histogram is None else _copied_to(device, histogram)
        native_cuda.merge(
            device=device,
            stream=stream,
            numel=numel,
            finetuned=finetuned,
            workspace=workspace.address,
            workspace_size=size,
            stats=0 if rows is None else rows.address,
            histogram=0 if bins is None else bins.address,
            **columns,
        )
        for values, room in ((stats, rows), (histogram, bins)):
            if values is not None and room is not None:
                values[...] = room.on_cpu().view(values.dtype).reshape(values.shape)


def count_batch(
    device: int, *, numel: Column, prefixes: Sequence[int], bits: int, counts: np.ndarray, **columns: Any
) -> None:
    """:func:`negmerge_ext.native.count_magnitudes` of tensors on a device; waits for it.

    counts: in main memory. Raises :class:`~negmerge_ext.errors.DeviceError` and
    :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    with device_memory.cuda.launching(device) as stream:
        workspace = Room(native_cuda.magnitudes_workspace_bytes(len(numel), len(prefixes)), device)
        room = _copied_to(device, counts)
        native_cuda.count_magnitudes(
            device=device,
            stream=stream,
            numel=numel,
            prefixes=prefixes,
            bits=bits,
            workspace=workspace.address,
            workspace_size=native_cuda.magnitudes_workspace_bytes(len(numel), len(prefixes)),
            counts=room.address,
            **columns,
        )
        counts[...] = room.on_cpu().view(counts.dtype).reshape(counts.shape)


def _copied_to(device: int, values: np.ndarray) -> Room:
    room = Room(values.nbytes, device)
    room.write(values)
    return room
