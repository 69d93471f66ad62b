"""The yardstick: how fast this machine reads the buffers that a merge reads.

``read_speed.c`` is compiled with the system's compiler for this processor. Every thread adds up a
contiguous stretch of every buffer; the variants differ in how many places of a stretch are read side by
side, whether the program prefetches and how far ahead. The fastest variant of a run is its read bandwidth.
Reading in the order of a merge is beside it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .timing import Measurement, timed

if TYPE_CHECKING:
    import torch

#: Variants of ``read_speed.c``, in its order.
VARIANTS = (
    "read: 1 stream",
    "read: 1 stream, prefetch",
    "read: 1 stream, prefetch near",
    "read: 2 streams",
    "read: 4 streams",
    "read: 4 streams, prefetch",
    "read: 4 streams, prefetch near",
    "read: 8 streams",
    "read: 8 streams, prefetch near",
)
#: Reading in the order of a merge, by whether streams are fetched ahead of themselves.
IN_ORDER = ("in order", "in order, prefetch")
#: Suffix of what is measured with a single thread.
ONE_THREAD = ", 1 thread"
_SOURCE = Path(__file__).with_suffix(".c")


class NoCompilerError(RuntimeError):
    """The yardstick cannot be compiled."""


class Reader:
    """Reads buffers given by address."""

    def __init__(self) -> None:
        compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
        if compiler is None:
            raise NoCompilerError("no C compiler found: install gcc or clang, or set CC")
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "read_speed.so"
            options = ["-O3", "-march=native", "-std=gnu11", "-shared", "-fPIC", "-pthread", "-Wno-psabi"]
            done = subprocess.run(
                [compiler, *options, str(_SOURCE), "-o", str(library)], capture_output=True, text=True
            )
            if done.returncode:
                raise NoCompilerError(done.stderr)
            self._library = ctypes.CDLL(str(library))
        if self._library.variants() != len(VARIANTS):
            raise RuntimeError(f"{_SOURCE.name} has other variants than {Path(__file__).name}")

    def measurements(self, tensors: Sequence[torch.Tensor], threads: int) -> dict[str, Measurement]:
        """Timed reading of all of ``tensors`` in every variant; they must stay alive."""
        return {name: timed(read) for name, read in self.variants(tensors, threads).items()}

    def variants(self, tensors: Sequence[torch.Tensor], threads: int) -> dict[str, Callable[[], int]]:
        """Functions that read all of ``tensors`` and return the sum of their 8-byte words, modulo 2^64."""
        return {name: self._call("read_all", tensors, threads, index) for index, name in enumerate(VARIANTS)}

    def in_order(
        self, tensors: Sequence[Sequence[torch.Tensor]], threads: int
    ) -> dict[str, Callable[[], int]]:
        """The same in the order in which a merge reads ``tensors``: by name, the base's and the models'.

        Those of a name are of one size, a multiple of 64 bytes, and of every name there are as many, two or
        more. They must stay alive.
        """
        streams = len(tensors[0])
        for each in tensors:
            if len({tensor.nbytes for tensor in each}) != 1 or each[0].nbytes % 64:
                raise ValueError("tensors of a name must be of one size, a multiple of 64 bytes")
            if len(each) != streams or streams < 2:
                raise ValueError("every name must have as many tensors, two or more")
        flat = [tensor for each in tensors for tensor in each]
        return {
            name: self._call("read_in_order", flat, threads, ahead, streams)
            for ahead, name in enumerate(IN_ORDER)
        }

    def _call(
        self, function: str, tensors: Sequence[torch.Tensor], threads: int, *options: int
    ) -> Callable[[], int]:
        count = len(tensors)
        addresses = (ctypes.c_void_p * count)(*(tensor.data_ptr() for tensor in tensors))
        sizes = (ctypes.c_size_t * count)(*(tensor.nbytes for tensor in tensors))
        work = getattr(self._library, function)

        def read() -> int:
            total = ctypes.c_uint64()
            if work(addresses, sizes, ctypes.c_size_t(count), threads, *options, ctypes.byref(total)):
                raise RuntimeError(f"{threads} threads cannot be started")
            return total.value

        return read
