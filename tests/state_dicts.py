"""State dicts for tests: the same values in torch or numpy, in any memory layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import torch

#: Ways to store the elements of an array; torch has no tensors that run backward.
LAYOUTS = ("packed", "transposed", "rotated", "gapped", "shifted", "backward")
TORCH_LAYOUTS = LAYOUTS[:-1]

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SPECIAL = {
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """A writable copy of ``array`` stored in another way."""
    if layout == "transposed":
        return array.T.copy().T
    if layout == "rotated" and array.ndim > 1:  # as channels_last stores images
        return np.moveaxis(np.moveaxis(array, 1, -1).copy(), -1, 1)
    if layout == "gapped" and array.ndim > 0:
        room = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
        room[..., 1::2] = array
        return room[..., 1::2]
    if layout == "shifted":
        room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        room[...] = array
        return room
    if layout == "backward" and array.ndim > 0:
        return array[::-1].copy()[::-1]
    return array.copy()


def as_torch(array: np.ndarray) -> torch.Tensor:
    """A tensor over the memory of ``array``, strides included."""
    integers = torch.from_numpy(array.view(f"i{array.dtype.itemsize}" if array.dtype.itemsize > 1 else "u1"))
    return integers.view(_SPECIAL.get(array.dtype.name) or getattr(torch, array.dtype.name))


def as_numpy(value: Any) -> np.ndarray:
    """A tensor's values as numpy array, bits unchanged; a numpy array is given back as it is."""
    if isinstance(value, np.ndarray):
        return value
    name = str(value.dtype).removeprefix("torch.")
    dtype = np.dtype(getattr(ml_dtypes, name) if name in _SPECIAL else name)
    return value.detach().view(_INTEGERS[value.element_size()]).numpy().view(dtype)


def copied_bytes(*states: Mapping[str, Any]) -> list[dict[str, bytes]]:
    """What state dicts hold now, for a comparison later."""
    return [{name: as_numpy(value).tobytes() for name, value in state.items()} for state in states]
