"""Memory to work in, on the CPU or on a CUDA device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..device_failures import named_failures
from . import device_memory
from .device_memory import CPU
from .plain_tensor import Value, raw_tensor, same_elements

if TYPE_CHECKING:
    import torch


class Room:
    """Uninitialised bytes on a device; address: of the first."""

    def __init__(self, nbytes: int, device: int) -> None:
        self._value: Value
        self._device = device
        if device == CPU:
            self._value = np.empty(nbytes, np.uint8)
            self.address = self._value.ctypes.data
        else:
            self._value = device_memory.cuda.empty(nbytes, device)
            self.address = self._value.data_ptr()

    def on_cpu(self) -> np.ndarray:
        """The bytes, uint8, or what they are now if they are on a device, which is waited for.

        Raises :class:`~negmerge_ext.errors.DeviceError`.
        """
        if isinstance(self._value, np.ndarray):
            return self._value
        with named_failures(self._device):
            return self._value.cpu().numpy()

    def write(self, values: np.ndarray) -> None:
        """Give the room the bytes of an array of its size.

        Raises :class:`~negmerge_ext.errors.DeviceError`.
        """
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        if isinstance(self._value, np.ndarray):
            self._value[:] = raw
        else:
            import torch

            with named_failures(self._device):
                self._value.copy_(torch.from_numpy(raw))

    @property
    def on_device(self) -> torch.Tensor | None:
        """The bytes, if they are on a device."""
        return None if isinstance(self._value, np.ndarray) else self._value

    def part(self, begin: int, like: torch.Tensor) -> torch.Tensor:
        """Some of a device's room as a raw tensor of the shape and element size of ``like``, row-major."""
        raw = raw_tensor(like)
        part: torch.Tensor = self._value[begin : begin + raw.nbytes]  # type: ignore[assignment]
        return part.view(raw.dtype).view(raw.shape)

    def same_as(self, other: Room) -> bool:
        """Whether two rooms of one size hold the same bytes."""
        return same_elements(self._value, other._value)
