"""Comparing files with what a merge computes: a sink that reads back instead of writing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..checkpoint.output import Output
from ..errors import VerificationError
from ..plan import Plan
from .sinks import Delivery, Places, Wants

#: Bytes read back at a time.
_BLOCK = 1 << 20


class VerifyingSink:
    """Raises :class:`~negmerge_ext.errors.VerificationError` at the first tensor whose bytes differ.

    paths: where the files of ``output`` are now. What the system remembers of them is dropped first, so that
    they are read from the disk; their sizes and headers are compared at once.
    """

    wants = Wants(output=True, copies=True)

    def __init__(self, paths: Sequence[Path], output: Output, places: Places, plan: Plan[object]) -> None:
        self._paths = paths
        self._output = output
        self._places = places
        self._plan = plan
        self._block = np.empty(_BLOCK, np.uint8)
        for number, path in enumerate(paths):
            layout = output.files[number].layout
            with path.open("rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if os.fstat(file.fileno()).st_size != layout.size:
                    raise self._error(number, "has another size than it was given")
                different = self._first_difference(file.fileno(), 0, layout.header)
            if different is not None:
                raise self._error(number, f"byte {different} of the header is not what was written")

    def write(self, delivery: Delivery) -> None:
        for run in self._places.runs(delivery):
            with self._paths[run.file].open("rb", buffering=0) as file:
                different = self._first_difference(file.fileno(), run.offset, run.data)
            if different is not None:
                ends = np.cumsum([self._places.nbytes(piece) for piece in run.pieces])
                piece = run.pieces[int(np.searchsorted(ends, different, side="right"))]
                raise self._error(
                    run.file,
                    f"byte {run.offset + different} of the file is not what was computed",
                    self._plan.tensors[piece.tensor].name,
                )

    def _first_difference(self, descriptor: int, offset: int, data: bytes | memoryview) -> int | None:
        """The first byte of ``data`` that is not the file's from ``offset`` on."""
        expected = np.frombuffer(data, np.uint8)
        for begin in range(0, len(expected), _BLOCK):
            part = expected[begin : begin + _BLOCK]
            count = 0
            while count < len(part):
                rest = self._block.data[count : len(part)]
                got = os.preadv(descriptor, [rest], offset + begin + count)
                if got == 0:
                    return begin + count
                count += got
            different = np.flatnonzero(part != self._block[: len(part)])
            if len(different):
                return begin + int(different[0])
        return None

    def _error(self, file: int, message: str, tensor: str | None = None) -> VerificationError:
        return VerificationError(
            message,
            path=self._output.paths[file],
            tensor=tensor,
            remedy="Nothing was published: check the disk and merge again",
        )
