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
from ..in_memory.copying import copy_elements, copy_on_device
from ..in_memory.room import Room
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..native import Column
from ..plan import Plan
from .columns import gather_columns, kernel_arguments, storage_order

if TYPE_CHECKING:
    import torch

#: Copies begin at multiples of it, in bytes: kernels load as many at once.
_ALIGNMENT = 16


class DeviceMerge:
    """The tensors ``chosen``, bool ``[tensors]``, of a plan, all on one device.

    They are merged in one call, but for those whose elements are stored in unlike orders: these are copied
    whole, one tensor at a time. All memory for that is taken here, before anything is written. Raises
    :class:`~negmerge_ext.errors.DeviceMemoryError` if there is not enough.
    """

    def __init__(self, plan: Plan[MemoryRows], target: Target, device: int, chosen: np.ndarray) -> None:
        self._plan = plan
        self._target = target
        self._device = device
        self._columns = columns = gather_columns(plan, target, chosen)
        self._unlike = {column: _in_one_order(values) for column, values in columns.unlike.items()}
        numel = plan.tensors.table.numel[columns.tensor]
        batches = [numel[columns.direct], *(numel[[column]] for column in self._unlike)]
        # All work is on one stream: what one call is done with, the next may have.
        tables = [native_cuda.workspace_bytes(batch, plan.models, False) for batch in batches]
        self._table = Room(max(tables), device)
        copies = [sum(map(_room_for_copy, views)) for views in self._unlike.values()]
        self._copies = Room(max(copies, default=0), device)

    def run(self) -> None:
        """Write the tensors: merged, or copied from the base.

        Raises :class:`~negmerge_ext.errors.DeviceError`.
        """
        columns = self._columns
        copy_on_device(self._plan.base, self._target.rows, columns.copied, self._device)
        alike = slice(None) if columns.direct.all() else columns.direct
        self._merge(alike, columns.address[:, alike])
        for column, views in self._unlike.items():
            self._merge_unlike(column, views)

    def _merge(self, which: slice | np.ndarray, address: np.ndarray) -> None:
        """Merge the columns ``which``, whose tensors are packed in row-major order at ``address``."""
        plan = self._plan
        index, dtype = self._columns.tensor[which], self._columns.dtype[:, which]
        numel = plan.tensors.table.numel[index]
        merge_batch(
            self._device,
            **kernel_arguments(plan, index, numel, address, dtype),
            workspace=self._table,
        )

    def _merge_unlike(self, column: int, views: list[torch.Tensor]) -> None:
        """Merge the tensor of one column, whose base, models and output are ``views``."""
        name = self._plan.tensors.table.names[self._columns.tensor[column]]
        sizes = np.array([_room_for_copy(view) for view in views])
        begins = (np.cumsum(sizes) - sizes).tolist()
        packed = [
            view if _is_packed(view) else self._copies.part(begin, view)
            for begin, view in zip(begins, views, strict=True)
        ]
        for view, copy in zip(views[:-1], packed[:-1], strict=True):
            if copy is not view:
                copy_elements(view, copy, name)
        address = np.array([[copy.data_ptr()] for copy in packed], np.int64)
        self._merge(slice(column, column + 1), address)
        if packed[-1] is not views[-1]:
            copy_elements(packed[-1], views[-1], name)


def _in_one_order(values: list[Any]) -> list[torch.Tensor]:
    """Views of the tensors whose row-major order is that in which the first one is stored."""
    order = storage_order(values[0].stride())
    return [value.detach().permute(order) for value in values]


def _is_packed(view: torch.Tensor) -> bool:
    return view.is_contiguous() and view.data_ptr() % view.element_size() == 0


def _room_for_copy(view: torch.Tensor) -> int:
    """Bytes of room that a packed copy takes, if there must be one."""
    return 0 if _is_packed(view) else -(-view.nbytes // _ALIGNMENT) * _ALIGNMENT


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
    with device_memory.launching(device) as stream:
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
                _copy_back(room, values)


def count_batch(
    device: int, *, numel: Column, prefixes: Sequence[int], bits: int, counts: np.ndarray, **columns: Any
) -> None:
    """:func:`negmerge_ext.native.count_magnitudes` of tensors on a device; waits for it.

    counts: in main memory. Raises :class:`~negmerge_ext.errors.DeviceError` and
    :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    with device_memory.launching(device) as stream:
        size = native_cuda.magnitudes_workspace_bytes(len(numel), len(prefixes))
        workspace = Room(size, device)
        room = _copied_to(device, counts)
        native_cuda.count_magnitudes(
            device=device,
            stream=stream,
            numel=numel,
            prefixes=prefixes,
            bits=bits,
            workspace=workspace.address,
            workspace_size=size,
            counts=room.address,
            **columns,
        )
        _copy_back(room, counts)


def _copied_to(device: int, values: np.ndarray) -> Room:
    room = Room(values.nbytes, device)
    room.write(values)
    return room


def _copy_back(room: Room, values: np.ndarray) -> None:
    """Put into ``values`` what :func:`_copied_to` made of them; the device is waited for."""
    values[...] = room.on_cpu().view(values.dtype).reshape(values.shape)
