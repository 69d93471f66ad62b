"""Merging from files on a CUDA device: that part of the compiled CUDA module, typed."""

from __future__ import annotations

from typing import Any

from . import native_cuda
from .device_failures import FILES, named
from .native import ReadError


def least_slot(models: int, histogram: bool) -> int:
    """Bytes of the smallest slot that merges of so many models can work with; see :class:`FileMerger`."""
    least: int = native_cuda.module().least_slot(models, histogram)
    return least


def worker_memory(slot: int) -> tuple[int, int]:
    """Bytes that a worker with such slots takes: of pinned main memory, and of the device's memory."""
    pinned, on_device = native_cuda.module().worker_memory(slot)
    return pinned, on_device


class FileMerger:
    """Merges on a device what lies in files and in main memory, until it is closed.

    Every worker has two *slots* of ``slot`` bytes (a multiple of 128), on the host and on the device: one is
    read into while the device works on the other. Nothing else grows with the number or the size of models.
    Making one takes all memory there will be. Raises :class:`~negmerge_ext.errors.DeviceMemoryError` and
    :class:`~negmerge_ext.errors.DeviceError`.
    """

    def __init__(self, device: int, workers: int, slot: int) -> None:
        self._cuda = native_cuda.module()
        self._device = device
        try:
            self._merger = self._cuda.FileMerger(device, workers, slot)
        except self._cuda.CudaError as problem:
            raise named(problem, device, FILES) from problem

    def merge(self, **columns: Any) -> None:
        """What :func:`negmerge_ext.native.merge` does with the same arguments, to the bit.

        All models are given at once, and there is no number of threads. One call at a time. Raises
        :data:`~negmerge_ext.native.ReadError` and :class:`~negmerge_ext.errors.DeviceError`.
        """
        try:
            self._merger.merge(**columns)
        except self._cuda.ReadError as failure:
            raise ReadError(*failure.args) from None
        except self._cuda.CudaError as problem:
            raise named(problem, self._device, FILES) from problem

    def close(self) -> None:
        """Give all memory back."""
        self._merger.close()
