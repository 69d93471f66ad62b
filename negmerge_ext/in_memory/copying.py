"""Copying tensors from one state dict to another."""

from __future__ import annotations

import numpy as np

from .. import native
from .plain_tensor import raw_view
from .state_dict import MemoryRows


def copy_tensors(source: MemoryRows, destination: MemoryRows, index: np.ndarray, threads: int = 0) -> None:
    """Copy the tensors ``index``, of equal shapes and dtypes in both, unless they are the same memory."""
    if len(index) == 0:
        return
    packed = source.row_major[index] & destination.row_major[index]
    apart = source.start[index] != destination.start[index]
    direct = index[packed & apart]
    native.copy(source.start[direct], destination.start[direct], source.sizes[direct], threads)
    for place in index[~packed].tolist():
        if source.values[place] is not destination.values[place]:
            np.copyto(raw_view(destination.values[place]), raw_view(source.values[place]))
