"""Memory to work in, on the CPU or on a CUDA device."""

from __future__ import annotations

import numpy as np

from . import device_memory
from .device_memory import CPU
from .plain_tensor import Value, same_elements


class Room:
    """Uninitialised bytes on a device; address: of the first."""

    def __init__(self, nbytes: int, device: int) -> None:
        self._value: Value
        if device == CPU:
            self._value = np.empty(nbytes, np.uint8)
            self.address = self._value.ctypes.data
        else:
            self._value = device_memory.cuda.empty(nbytes, device)
            self.address = self._value.data_ptr()

    def on_cpu(self) -> np.ndarray:
        """The bytes, uint8, or what they are now if they are on a device, which is waited for."""
        return self._value if isinstance(self._value, np.ndarray) else self._value.cpu().numpy()

    def write(self, values: np.ndarray) -> None:
        """Give the room the bytes of an array of its size."""
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(-1)
        if isinstance(self._value, np.ndarray):
            self._value[:] = raw
        else:
            import torch

            self._value.copy_(torch.from_numpy(raw))

    def same_as(self, other: Room) -> bool:
        """Whether two rooms of one size hold the same bytes."""
        return same_elements(self._value, other._value)
