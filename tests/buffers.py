"""Memory for kernel calls: arrays at a chosen misalignment, with bytes around them that must survive."""

from __future__ import annotations

import os

import numpy as np

#: Set in a run under AddressSanitizer: buffers then end where their array ends, so that the sanitizer
#: sees every access beyond it; otherwise guard bytes show writes beyond it.
TIGHT = "NEGMERGE_TEST_TIGHT_BUFFERS" in os.environ

_GUARD = 128
_FILL = 0xA5


class Buffer:
    """A copy of ``array`` that starts ``offset`` bytes after a 64-byte boundary."""

    def __init__(self, array: np.ndarray, offset: int = 0) -> None:
        self.dtype, self.shape, self.nbytes = array.dtype, array.shape, array.nbytes
        if TIGHT:
            self._memory = np.full(offset + self.nbytes, _FILL, np.uint8)
            self._start = offset
        else:
            self._memory = np.full(self.nbytes + 2 * _GUARD + 64, _FILL, np.uint8)
            self._start = _GUARD + (offset - self._memory.ctypes.data - _GUARD) % 64
        self._inside[:] = np.frombuffer(array.tobytes(), np.uint8)

    @classmethod
    def unwritten(cls, count: int, dtype: np.dtype | str | type, offset: int = 0) -> Buffer:
        """Room for ``count`` elements, filled with bytes that no test expects to find again."""
        dtype = np.dtype(dtype)
        return cls(np.full(count * dtype.itemsize, _FILL, np.uint8).view(dtype), offset)

    @property
    def address(self) -> int:
        return int(self._memory.ctypes.data) + self._start

    @property
    def _inside(self) -> np.ndarray:
        return self._memory[self._start : self._start + self.nbytes]

    def array(self) -> np.ndarray:
        """A copy of what it holds now."""
        return np.frombuffer(self._inside.tobytes(), self.dtype).reshape(self.shape)

    def check_guards(self) -> None:
        before, after = self._memory[: self._start], self._memory[self._start + self.nbytes :]
        assert (before == _FILL).all(), "bytes before the array were written"
        assert (after == _FILL).all(), "bytes after the array were written"
