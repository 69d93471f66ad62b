"""Dtypes by their safetensors name, with their native codes and their numpy and torch names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import DtypeError

if TYPE_CHECKING:
    import torch

#: Dtypes the kernels read and write, with the codes of ``csrc/dtype.h``.
CODES: dict[str, int] = {"F64": 0, "F32": 1, "F16": 2, "BF16": 3, "F8_E4M3": 4, "F8_E5M2": 5}

#: Bits per element of every dtype that a safetensors header may name.
BITS: dict[str, int] = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "C64": 64, "C128": 128,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip

#: All of them; the number of a dtype is its place here. The first are the native codes.
NAMES: tuple[str, ...] = tuple(BITS)
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}

#: Integers and booleans: never merged, copied from the base.
NOT_FLOATING = frozenset({"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"})

_TORCH: dict[str, str] = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "C64": "complex64", "C128": "complex128",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
_FROM_LIBRARY = {name: dtype for dtype, name in _TORCH.items()}
_ALIASES = {
    "double": "F64", "fp64": "F64", "float": "F32", "fp32": "F32", "half": "F16", "fp16": "F16",
    "bf16": "BF16", "f8_e4m3fn": "F8_E4M3", "e4m3": "F8_E4M3", "e4m3fn": "F8_E4M3",
    "e5m2": "F8_E5M2",
}  # fmt: skip


def from_torch(dtype: torch.dtype) -> str:
    """The safetensors name of a torch dtype; quantised and other special ones keep torch's name."""
    name = str(dtype).removeprefix("torch.")
    return _FROM_LIBRARY.get(name, name)


def from_numpy(dtype: np.dtype) -> str:
    """The safetensors name of a numpy dtype (``ml_dtypes`` included)."""
    return _FROM_LIBRARY.get(dtype.name, dtype.name)


def torch_name(name: str) -> str:
    """What torch calls the dtype of a safetensors name that the kernels write."""
    return _TORCH[name]


def to_torch(name: str) -> torch.dtype:
    """The torch dtype of a safetensors name."""
    import torch

    found = getattr(torch, _TORCH.get(name, ""), None)
    if not isinstance(found, torch.dtype):
        raise DtypeError(f"torch {torch.__version__} has no dtype {name}")
    return found


def to_numpy(name: str) -> np.dtype:
    """The numpy dtype of a safetensors name; bf16 and fp8 need ``ml_dtypes``."""
    library = _TORCH.get(name, "")
    if library in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        try:
            import ml_dtypes
        except ImportError:
            raise DtypeError(
                f"numpy has no dtype {library}", remedy="Install ml_dtypes, or use torch tensors"
            ) from None
        dtype: np.dtype = np.dtype(getattr(ml_dtypes, library))
        return dtype
    try:
        return np.dtype(library)
    except TypeError:
        raise DtypeError(f"numpy has no dtype {name}") from None


def parse(value: object) -> str:
    """The safetensors name of whatever a user wrote for a dtype: a torch or numpy dtype, or a name.

    Raises :class:`~negmerge_ext.errors.DtypeError` for anything the kernels cannot write.
    """
    if isinstance(value, str):
        text = value.removeprefix("torch.")
        name = _ALIASES.get(text.lower()) or _FROM_LIBRARY.get(text.lower()) or text.upper()
    elif type(value).__module__.partition(".")[0] == "torch":
        name = from_torch(value)  # type: ignore[arg-type]
    else:
        try:
            name = from_numpy(np.dtype(value))  # type: ignore[call-overload]
        except TypeError:
            name = repr(value)
    if name not in CODES:
        known = ", ".join(_TORCH[code] for code in CODES)
        raise DtypeError(f"{value!r} is not a dtype that can be merged", remedy=f"Use one of {known}")
    return name


def nbytes(name: str, numel: int) -> int:
    """Bytes that ``numel`` packed elements of dtype ``name`` take."""
    return (numel * BITS[name] + 7) // 8
