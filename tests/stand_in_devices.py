"""CUDA devices made of main memory: tensors that are declared to lie on one, for tests without a GPU.

What must not be done to a device's tensors fails here, too: looking at them with numpy, and giving their
addresses to kernels of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from negmerge_ext import native, native_cuda
from negmerge_ext.in_memory import device_memory, state_dict
from negmerge_ext.in_memory.device_memory import CPU

#: The first current stream of device 0; those of others follow, and its own further ones at multiples of it.
_STREAM = 1000


class StandInDevices:
    """In place of :class:`~negmerge_ext.in_memory.device_memory.TorchCuda`.

    A tensor is on a device from :meth:`put` on; memory made like it, or with :meth:`empty`, is there, too.
    launches: devices that work was given to, in order. waits: how often a tensor was brought to the CPU.
    stream_number: of the streams that are current. followed: those that had to wait for an earlier one, the
    earlier one, and the addresses of the memory that they use from then on.
    """

    def __init__(self) -> None:
        self.launches: list[int] = []
        self.waits = 0
        self.stream_number = 0
        self.followed: list[tuple[int, int, set[int]]] = []
        self._devices: dict[int, int] = {}  # by address of torch's storage objects
        self._kept: list[torch.UntypedStorage] = []

    def put(self, value: torch.Tensor, device: int = 0) -> torch.Tensor:
        """Declare the memory of a tensor that of a device."""
        storage = value.untyped_storage()
        self._devices[storage._cdata] = device
        self._kept.append(storage)
        return value

    def put_all(self, state: dict[str, torch.Tensor], device: int = 0) -> dict[str, torch.Tensor]:
        """Declare the memory of a state dict's tensors that of a device."""
        return {name: self.put(value, device) for name, value in state.items()}

    def device_of(self, tensor: torch.Tensor) -> int | None:
        if not tensor.is_cpu:
            return None
        return self._devices.get(tensor.untyped_storage()._cdata, CPU)

    def current(self) -> int:
        return 0

    def empty(self, nbytes: int, device: int) -> torch.Tensor:
        room = torch.full((nbytes + 256,), 0xA5, dtype=torch.uint8)
        skipped = -room.data_ptr() % 256
        return self.put(room, device)[skipped : skipped + nbytes]

    @contextmanager
    def launching(self, device: int) -> Iterator[int]:
        self.launches.append(device)
        yield self.stream(device)

    def stream(self, device: int) -> int:
        return _STREAM * (1 + self.stream_number) + device

    def follow(self, earlier: int, stream: int, memory: Iterable[torch.Tensor]) -> None:
        assert stream % _STREAM == earlier % _STREAM, "streams of one device"
        assert stream == self.stream(stream % _STREAM)
        used = list(memory)
        assert {self.device_of(value) for value in used} <= {stream % _STREAM}
        self.followed.append((earlier, stream, {value.data_ptr() for value in used}))

    def install(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        """Have the package use these devices, and ``module`` as its CUDA module."""
        scan = state_dict.scan

        def scanned(state: Any, values: Any) -> Any:
            found = scan(state, values)
            if found is None or not values:
                return found
            device = np.array([self.device_of(value) for value in values], np.int64)
            return found._replace(device=None if (device == CPU).all() else device)

        monkeypatch.setattr(device_memory, "cuda", self)
        monkeypatch.setattr(native_cuda, "module", lambda: _OnDeviceZero(module, self))
        monkeypatch.setattr(state_dict, "scan", scanned)
        self._forbid_looking(monkeypatch)
        for name in ("merge", "copy", "populate", "remember", "move", "count_magnitudes"):
            monkeypatch.setattr(native, name, self._on_cpu_only(getattr(native, name)))

    def _forbid_looking(self, monkeypatch: pytest.MonkeyPatch) -> None:
        empty_like, cpu, numpy = torch.empty_like, torch.Tensor.cpu, torch.Tensor.numpy

        def made_like(value: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            made, device = empty_like(value, *args, **kwargs), self.device_of(value)
            return made if device in (None, CPU) else self.put(made, device)

        def brought(value: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            if self.device_of(value) == CPU:
                return cpu(value, *args, **kwargs)
            self.waits += 1
            return value.clone()

        def viewed(value: torch.Tensor, *args: Any, **kwargs: Any) -> np.ndarray:
            assert self.device_of(value) == CPU, "numpy cannot look at a device's memory"
            return numpy(value, *args, **kwargs)

        monkeypatch.setattr(torch, "empty_like", made_like)
        monkeypatch.setattr(torch.Tensor, "cpu", brought)
        monkeypatch.setattr(torch.Tensor, "numpy", viewed)

    def _on_cpu_only(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            addresses = np.concatenate([_numbers(value) for value in (*args, *kwargs.values())])
            begins, ends = np.array(
                sorted({(0, 0), *((s.data_ptr(), s.data_ptr() + s.nbytes()) for s in self._kept)})
            ).T
            nearest = np.searchsorted(begins, addresses, side="right") - 1
            assert not (addresses < ends[nearest])[nearest >= 0].any(), "memory of a device"
            return call(*args, **kwargs)

        return checked


class _OnDeviceZero:
    """A CUDA module that has one device only and no streams, in place of all devices."""

    def __init__(self, module: ModuleType, devices: StandInDevices) -> None:
        self._module = module
        self._devices = devices

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def merge(self, device: int, stream: int, *arguments: Any) -> None:
        assert stream == self._devices.stream(device)
        self._module.merge(0, 0, *arguments)

    def count_magnitudes(self, device: int, stream: int, *arguments: Any) -> None:
        assert stream == self._devices.stream(device)
        self._module.count_magnitudes(0, 0, *arguments)

    def remember(self, device: int, stream: int, *arguments: Any) -> None:
        assert stream == self._devices.stream(device)
        self._module.remember(0, 0, *arguments)

    def move(self, device: int, stream: int, *arguments: Any) -> None:
        assert stream == self._devices.stream(device)
        self._module.move(0, 0, *arguments)


def _numbers(value: object) -> np.ndarray:
    """What may be addresses among the arguments of a native call."""
    if isinstance(value, native.State):
        return np.concatenate([_numbers(value.values), _numbers(value.positive), _numbers(value.negative)])
    if isinstance(value, np.ndarray) and value.dtype == native.PATCHED:
        return np.concatenate([value[name].astype(np.int64) for name in ("elements", "base", "values")])
    if isinstance(value, (list, np.ndarray)) and np.asarray(value).dtype == np.int64:
        return np.asarray(value).ravel()
    return np.empty(0, np.int64)
