"""Patches of tensors on CUDA devices: the patch's data there, and the kernels that move tensors in place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import native_cuda
from ..in_memory import device_memory
from ..in_memory.room import Room
from ..native import Position
from .description import Description
from .sections import MemorySections

if TYPE_CHECKING:
    import torch


class DeviceData:
    """Keep bits, values and counts of a patch, brought to a device when a tensor there needs them first.

    kept_before: of each tensor, as :func:`~negmerge_ext.native.kept_before` says.
    """

    def __init__(
        self, description: Description, sections: MemorySections, kept_before: Sequence[np.ndarray]
    ) -> None:
        self._tensors = description.tensors
        self._sections = sections
        self._kept_before = kept_before
        self._rooms: dict[tuple[int, int], tuple[Room, ...]] = {}

    def fill_in(self, rows: np.ndarray, index: list[int], device: int) -> None:
        """Give rows of :data:`~negmerge_ext.native.PATCHED` the addresses of their data on a device."""
        for tensor in index:
            if (tensor, device) not in self._rooms:
                self._rooms[tensor, device] = self._brought(tensor, device)
            for name, room in zip(
                ("keep", "values", "kept_before"), self._rooms[tensor, device], strict=True
            ):
                rows[name][tensor] = room.address

    def on_devices(self) -> Iterator[torch.Tensor]:
        """What was brought to devices."""
        for rooms in self._rooms.values():
            yield from (memory for room in rooms if (memory := room.on_device) is not None)

    def _brought(self, index: int, device: int) -> tuple[Room, ...]:
        tensor, rooms = self._tensors[index], list[Room]()
        for array in (
            self._sections.keep(index, 0, tensor.numel),
            self._sections.values(index, 0, tensor.kept),
            self._kept_before[index],
        ):
            rooms.append(Room(array.nbytes, device))
            rooms[-1].write(array)
        return tuple(rooms)


def remember_on_device(rows: np.ndarray, device: int) -> None:
    """:func:`negmerge_ext.native.remember` of tensors on a device, on torch's current stream."""
    with device_memory.launching(device) as stream:
        size = native_cuda.patch_workspace_bytes(len(rows))
        workspace = Room(size, device)
        native_cuda.remember(
            rows, device=device, stream=stream, workspace=workspace.address, workspace_size=size
        )


def move_on_device(rows: np.ndarray, source: Sequence[Position], target: Position, device: int) -> bool:
    """:func:`negmerge_ext.native.move` of tensors on a device; waits for the answer."""
    with device_memory.launching(device) as stream:
        size = native_cuda.patch_workspace_bytes(len(rows))
        workspace, misplaced = Room(size, device), Room(8, device)
        misplaced.write(np.zeros(1, np.int64))
        native_cuda.move(
            rows,
            source,
            target,
            device=device,
            stream=stream,
            workspace=workspace.address,
            workspace_size=size,
            misplaced=misplaced.address,
        )
        return not misplaced.on_cpu().view(np.int64)[0]
