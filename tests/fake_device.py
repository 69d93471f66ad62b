"""The device that is none of the CUDA module for tests (``csrc/fake_device.h``), to be controlled."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


class FakeDevice:
    """The device of ``module``."""

    def __init__(self, module: ModuleType) -> None:
        assert module.__file__ is not None
        self._library = ctypes.CDLL(module.__file__)
        self._library.fake_peak.restype = ctypes.c_size_t

    @property
    def left(self) -> int:
        """Things of the device that have not been given back."""
        return int(self._library.fake_left())

    def calls(self, function: str) -> int:
        return int(self._library.fake_calls(function.encode()))

    def peaks(self) -> tuple[int, int]:
        """Most bytes taken at a time since :meth:`forget_peaks`: pinned, of the device."""
        return int(self._library.fake_peak(0)), int(self._library.fake_peak(1))

    def forget_peaks(self) -> None:
        self._library.fake_forget_peaks()

    @contextmanager
    def at_once(self, eager: bool) -> Iterator[None]:
        """Whether work is done when it is enqueued, not when it is waited for."""
        self._library.fake_eager(int(eager))
        try:
            yield
        finally:
            self._library.fake_eager(0)

    @contextmanager
    def failing(self, function: str, call: int) -> Iterator[None]:
        """The ``call``-th call of ``function`` from now on fails, and all that follow; 0: none."""
        self._library.fake_fail(function.encode(), call)
        try:
            yield
        finally:
            self._library.fake_fail(b"", 0)
