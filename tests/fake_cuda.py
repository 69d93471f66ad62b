"""The CUDA module with a device that is none (``csrc/fake_device.h``), for tests without a GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from native_builds import build


class FakeCuda:
    """module: the extension module. The functions control its device."""

    def __init__(self, path: Path) -> None:
        spec = importlib.util.spec_from_file_location("_cuda", path)
        assert spec is not None
        assert spec.loader is not None
        self.module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self._library = ctypes.CDLL(str(path))
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


def build_fake_cuda(root: Path) -> Path:
    """Build it in a folder below ``root``; gives the path of the module."""
    if ready := os.environ.get("X_FAKE"):
        return Path(ready)
    folder = build(root / "emulated", "_cuda_emulated", "-DNEGMERGE_CUDA_EMULATED=ON")
    [module] = folder.rglob("_cuda.*.so")
    return module
