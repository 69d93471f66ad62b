"""Copying tensors from one state dict to another, and out of their memory order."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import numpy as np

from .. import native
from ..device_failures import named_failures
from . import device_memory
from .device_memory import CPU
from .plain_tensor import Value, raw_tensor, raw_view

if TYPE_CHECKING:
    import torch

    from .state_dict import MemoryRows


def copy_tensors(source: MemoryRows, destination: MemoryRows, index: np.ndarray, threads: int = 0) -> None:
    """Copy the tensors ``index``, of equal shapes, dtypes and devices, unless they are the same memory.

    Devices are not waited for.
    """
    if source.on_cpu:
        copy_on_cpu(source, destination, index, threads)
        return
    device = source.device[index]
    for number in np.unique(device).tolist():
        if number == CPU:
            copy_on_cpu(source, destination, index[device == number], threads)
        else:
            copy_on_device(source, destination, index[device == number], number)


def copy_on_cpu(source: MemoryRows, destination: MemoryRows, index: np.ndarray, threads: int = 0) -> None:
    """:func:`copy_tensors` that are all on the CPU."""
    if len(index) == 0:
        return
    packed = source.row_major[index] & destination.row_major[index]
    apart = source.start[index] != destination.start[index]
    direct = index[packed & apart]
    native.copy(source.start[direct], destination.start[direct], source.sizes[direct], threads)
    for place in index[~packed].tolist():
        if source.values[place] is not destination.values[place]:
            np.copyto(raw_view(destination.values[place]), raw_view(source.values[place]))


def copy_on_device(source: MemoryRows, destination: MemoryRows, index: np.ndarray, device: int) -> None:
    """:func:`copy_tensors` that are all on one CUDA device, on torch's current stream there.

    Raises :class:`~negmerge_ext.errors.DeviceError`.
    """
    import torch

    pairs = [
        (raw_tensor(destination.values[place]), raw_tensor(source.values[place]))
        for place in index.tolist()
        if destination.values[place] is not source.values[place]
    ]
    if pairs:
        targets, sources = map(list, zip(*pairs, strict=True))
        with device_memory.launching(device):
            torch._foreach_copy_(targets, sources, non_blocking=True)


def packed_room(value: Value, tensor: str | None = None) -> tuple[Value, int]:
    """Raw memory for the elements of a tensor in row-major order, on its own device, and its address.

    tensor: its name, for errors. Raises :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    if isinstance(value, np.ndarray):
        array = np.empty(value.shape, raw_view(value).dtype)
        return array, array.ctypes.data
    import torch

    with named_failures(_cuda_device(value), tensor):
        room = torch.empty_like(raw_tensor(value), memory_format=torch.contiguous_format)
    return room, room.data_ptr()


def packed_copy(value: Value, tensor: str | None = None) -> tuple[Value, int]:
    """:func:`packed_room` with the tensor's elements in it."""
    room, address = packed_room(value, tensor)
    copy_elements(value, room, tensor)
    return room, address


def bring_bytes(value: Value, offset: int, nbytes: int, address: int) -> None:
    """Copy bytes of a torch tensor that is packed in row-major order to an address of main memory.

    Raises :class:`~negmerge_ext.errors.DeviceError`.
    """
    if nbytes == 0 or isinstance(value, np.ndarray):
        return
    import torch

    source = raw_tensor(value).view(-1).view(torch.uint8)[offset : offset + nbytes]
    area = (ctypes.c_ubyte * nbytes).from_address(address)
    with named_failures(_cuda_device(value)):
        torch.frombuffer(area, dtype=torch.uint8).copy_(source)


def copy_elements(source: Value, destination: Value, tensor: str | None = None) -> None:
    """Copy the elements of a tensor, bit for bit, to another one of equal shape and element size.

    Both are torch tensors, on any devices, or both numpy arrays. tensor: its name, for errors. Raises
    :class:`~negmerge_ext.errors.DeviceError`.
    """
    if isinstance(destination, np.ndarray) or isinstance(source, np.ndarray):
        np.copyto(raw_view(destination), raw_view(source))
    else:
        with named_failures(_cuda_device(destination), tensor):
            raw_tensor(destination).copy_(raw_tensor(source))


def _cuda_device(value: torch.Tensor) -> int | None:
    device = device_memory.cuda.device_of(value)
    return None if device == CPU else device
