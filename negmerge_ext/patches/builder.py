"""Collecting a patch in memory while it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from .. import dtypes
from ..plan import PlannedTensor
from .description import keep_nbytes
from .sections import MemorySections


class PatchTarget(Protocol):
    """What takes the data of a patch piece by piece."""

    def append(self, index: int, begin: int, keep: np.ndarray, values: np.ndarray) -> None:
        """Take the keep bits from element ``begin`` of a patched tensor on, and the values under them.

        Tensors come in order and each one's pieces too; ``begin`` is a multiple of 16. Nothing is kept of
        the arrays.
        """


class MemoryBuilder:
    """Makes :class:`MemorySections` of pieces; tensors: those that are patched."""

    def __init__(self, tensors: Sequence[PlannedTensor]) -> None:
        self._keep = [np.zeros(keep_nbytes(tensor.numel), np.uint8) for tensor in tensors]
        self._values = [[np.empty(0, dtypes.to_numpy(str(tensor.compute)))] for tensor in tensors]

    def append(self, index: int, begin: int, keep: np.ndarray, values: np.ndarray) -> None:
        """See :class:`PatchTarget`."""
        start = keep_nbytes(begin)
        self._keep[index][start : start + keep.size] = keep
        if values.size:
            self._values[index].append(values.copy())

    def finish(self) -> MemorySections:
        """Everything that was appended."""
        values = []
        for pieces in self._values:
            values.append(np.concatenate(pieces))
            pieces.clear()
        return MemorySections(self._keep, values)
