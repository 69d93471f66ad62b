"""The memory of a streaming merge: one anonymous mapping, given back to the system at the end."""

from __future__ import annotations

import ctypes
import mmap
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

#: Where buffers, and parts of them that belong to different tensors or models, begin: whole cache lines.
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Buffer:
    """A range of memory, by address and as bytes."""

    address: int
    bytes: memoryview

    def at(self, address: int, nbytes: int) -> memoryview:
        """The bytes at ``address``: of this buffer if they lie in it, else of memory that others keep."""
        begin = address - self.address
        if 0 <= begin <= len(self.bytes) - nbytes:
            return self.bytes[begin : begin + nbytes]
        return memoryview((ctypes.c_char * nbytes).from_address(address)).cast("B")


class Arena:
    """``nbytes`` of page-aligned memory to carve buffers from; a context manager."""

    def __init__(self, nbytes: int) -> None:
        self._mapping = mmap.mmap(-1, max(nbytes, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with suppress(OSError):  # a kernel without huge pages
            self._mapping.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = memoryview(self._mapping)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))
        self._taken = 0

    def take(self, nbytes: int) -> Buffer:
        """The next ``nbytes`` bytes, a multiple of :data:`ALIGNMENT`."""
        begin, self._taken = self._taken, self._taken + nbytes
        return Buffer(self._address + begin, self._bytes[begin : self._taken])

    def __enter__(self) -> Arena:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bytes.release()
        with suppress(BufferError):  # an interrupted read still holds a part: freed with its last reference
            self._mapping.close()


def align(nbytes: int) -> int:
    """``nbytes`` rounded up to :data:`ALIGNMENT`."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
