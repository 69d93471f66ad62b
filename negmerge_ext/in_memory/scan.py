"""Where ordinary torch tensors lie, and what they are: a whole state dict in one look.

Merging thousands of small tensors takes as long as looking at them, so this tells ordinary tensors from
special ones and no more: torch tensors and parameters, no subclasses, whose memory holds their values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import dtypes, native
from ..table import TensorTable, encoded
from . import device_memory

if TYPE_CHECKING:
    import torch

#: Dtypes that a scan reports; others (complex, quantised, …) are looked at more closely.
_EVERYDAY = frozenset(dtypes.CODES) | dtypes.NOT_FLOATING

#: DLPack's type code << 8 | bits of each of them, as published in dlpack.h.
_DLPACK = {
    "I8": 0x008, "I16": 0x010, "I32": 0x020, "I64": 0x040,
    "U8": 0x108, "U16": 0x110, "U32": 0x120, "U64": 0x140,
    "F16": 0x210, "F32": 0x220, "F64": 0x240,
    "BF16": 0x410, "BOOL": 0x608, "F8_E4M3": 0xA08, "F8_E5M2": 0xC08,
}  # fmt: skip

#: Numbers of dtypes by that; -1 for all others.
_NUMBERS = np.full(1 << 16, -1, np.int64)
_NUMBERS[list(_DLPACK.values())] = [dtypes.NUMBERS[name] for name in _DLPACK]

#: Bytes per element by number of a dtype.
_ITEMSIZE = np.array([bits // 8 for bits in dtypes.BITS.values()], np.int64)


class Scan(NamedTuple):
    """Ordinary tensors.

    start: int64 addresses; row_major: bool, packed in that order; nbytes: int64; device: int64, numbers of
    CUDA devices, -1 for the CPU, or ``None`` if all are on the CPU.
    """

    table: TensorTable
    start: np.ndarray
    row_major: np.ndarray
    nbytes: np.ndarray
    device: np.ndarray | None = None


def scan(state: Mapping[str, Any], values: tuple[Any, ...]) -> Scan | None:
    """Look at the tensors ``values`` of ``state``; ``None`` unless all are ordinary and all names strings."""
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor is None:
        return None
    exchange = getattr(tensor, "__dlpack_c_exchange_api__", None)
    if exchange is None:  # an older torch
        return by_attributes(tuple(state), values)
    return by_exchange(tuple(state), values, exchange)


def by_exchange(names: tuple[str, ...], values: tuple[torch.Tensor, ...], exchange: object) -> Scan | None:
    """A scan through the capsule ``exchange``, torch's C interface for DLPack."""
    found = native.scan(names, values, exchange, *_torch_library())
    if found is None:
        return None
    start, dtype, row_major, numel, nbytes, dims, device = found
    return Scan(TensorTable(names, dtype, numel, dims), start, row_major, nbytes, device)


@cache
def _torch_library() -> tuple[tuple[type, ...], Callable[[Any], bool], np.ndarray, dict[Any, int]]:
    """What a native scan is told of torch: types, the question for negated views, numbers of dtypes."""
    import torch

    one_byte = {dtypes.to_torch(name): dtypes.NUMBERS[name] for name in _DLPACK if dtypes.BITS[name] == 8}
    return (torch.Tensor, torch.nn.Parameter), torch.Tensor.is_neg, _NUMBERS, one_byte


def by_attributes(names: tuple[str, ...], values: tuple[torch.Tensor, ...]) -> Scan | None:
    """A scan that asks each tensor, in loops without bytecode."""
    import torch

    tensor: Any = torch.Tensor
    if not {tensor, torch.nn.Parameter}.issuperset(map(type, values)):
        return None
    if not all(isinstance(name, str) for name in names):
        return None
    try:
        known = [dtypes.from_torch(dtype) for dtype in map(tensor.dtype.__get__, values)]
        shapes = list(map(tensor.shape.__get__, values))
        if not _EVERYDAY.issuperset(known) or any(map(tensor.is_neg, values)):
            return None
        device = None
        if not all(map(tensor.is_cpu.__get__, values)):
            found = list(map(device_memory.cuda.device_of, values))
            if None in found:
                return None
            device = np.array(found, np.int64)
        start = np.array(list(map(tensor.data_ptr, values)), np.int64)
        row_major = np.array(list(map(tensor.is_contiguous, values)), bool)
    except RuntimeError:  # sparse and nested tensors lack a shape or an address
        return None
    numel = np.array(list(map(tensor.numel, values)), np.int64)
    if ((start == 0) & (numel > 0)).any():
        return None
    number = np.array([dtypes.NUMBERS[name] for name in known], np.int64)
    table = TensorTable(names, number, numel, encoded(shapes))
    return Scan(table, start, row_major, numel * _ITEMSIZE[number], device)
