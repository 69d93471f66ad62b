"""Times of work on a GPU, by CUDA events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .timing import Measurement

_cuda: Any = torch.cuda  # much of it is untyped

#: Cycles for which the device is kept busy before the work that is timed: at first, and at most, which is
#: some seconds.
_FIRST, _MOST = 1 << 21, 1 << 33


class WaitsForTheDeviceError(RuntimeError):
    """The work did not return before the device began it: it waits for the device, or takes seconds."""


class DeviceClock:
    """Measures what work takes on the current stream, not what the host takes to enqueue it.

    The device is kept busy until everything is enqueued; where that was not long enough, the measurement does
    not count and is made again with twice the time.
    """

    def __init__(self) -> None:
        self._cycles = _FIRST
        self._begin, self._end = (_cuda.Event(enable_timing=True) for _ in range(2))

    def timed(self, work: Callable[[], object]) -> Measurement:
        """Time ``work``; what it returns is released after it is done."""
        return lambda: self._seconds(work)

    def _seconds(self, work: Callable[[], object]) -> float:
        while self._cycles <= _MOST:
            _cuda.synchronize()
            _cuda._sleep(self._cycles)
            self._begin.record()
            result = work()
            self._end.record()
            begun = self._begin.query()
            self._end.synchronize()
            del result
            if not begun:
                return float(self._begin.elapsed_time(self._end)) / 1e3
            self._cycles *= 2
        raise WaitsForTheDeviceError("this work cannot be timed by events: it waits for the device")
