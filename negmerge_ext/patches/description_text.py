"""The description of a patch as its file carries it: JSON, read without believing any of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .. import dtypes
from ..checkpoint.provenance import InputIdentity
from ..checkpoint.strict_json import parse_object
from ..stats import TensorStats
from .description import Description, PatchedTensor
from .fingerprint import DIGITS

#: Key of the text in ``__metadata__`` of a patch file.
METADATA_KEY = "negmerge.patch"

#: Version of the text that this release writes and reads.
VERSION = 1

_FieldT = TypeVar("_FieldT")


def to_text(description: Description) -> str:
    """The description as JSON; floats as hexadecimal text, which is exact and has infinities and NaN."""
    document = {
        "version": VERSION,
        "method": description.method,
        "base": _input_to_plain(description.base),
        "finetuned": [_input_to_plain(model) for model in description.finetuned],
        "model_elements": description.model_elements,
        "model_bytes": description.model_nbytes,
        "tensors": [_tensor_to_plain(tensor) for tensor in description.tensors],
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def from_text(text: str) -> Description:
    """Read what :func:`to_text` wrote; ``ValueError`` says what else it is."""
    document = parse_object(text.encode())
    version = document.get("version")
    if version != VERSION or type(version) is not int:
        raise ValueError(f"has version {version!r}; this release reads version {VERSION}")
    finetuned = [
        _input(item, f"finetuned[{k}]") for k, item in enumerate(_field(document, "finetuned", _list))
    ]
    tensors = [_tensor(item, f"tensors[{k}]") for k, item in enumerate(_field(document, "tensors", _list))]
    if not finetuned or not tensors:
        raise ValueError("names no fine-tuned model or no tensor")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise ValueError("names a tensor twice")
    description = Description(
        method=_field(document, "method", _string),
        base=_input(document.get("base"), "base"),
        finetuned=tuple(finetuned),
        model_elements=_field(document, "model_elements", _count),
        model_nbytes=_field(document, "model_bytes", _count),
        tensors=tuple(tensors),
    )
    if description.model_elements < sum(tensor.numel for tensor in tensors):
        raise ValueError("has more patched elements than the model has elements")
    return description


def _input_to_plain(model: InputIdentity) -> dict[str, object]:
    return {"name": model.name, "bytes": model.size}


def _tensor_to_plain(tensor: PatchedTensor) -> dict[str, object]:
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": list(tensor.shape),
        "compute": tensor.compute,
        "kept": tensor.kept,
        "norm": tensor.stats.norm.hex(),
        "max_abs": tensor.stats.max_abs.hex(),
        "non_finite": tensor.stats.non_finite,
        "sha256": tensor.fingerprint,
    }


def _input(item: object, where: str) -> InputIdentity:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is not an object")
    return InputIdentity(name=_field(item, "name", _string, where), size=_field(item, "bytes", _count, where))


def _tensor(item: object, where: str) -> PatchedTensor:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is not an object")
    shape = tuple(_field(item, "shape", _shape, where))
    tensor = PatchedTensor(
        dtype=_field(item, "dtype", _string, where),
        shape=shape,
        compute=_field(item, "compute", _string, where),
        fingerprint=_field(item, "sha256", _digest, where),
        stats=TensorStats(
            name=_field(item, "name", _string, where),
            elements=math.prod(shape),
            kept=_field(item, "kept", _count, where),
            norm=_field(item, "norm", _magnitude, where),
            max_abs=_field(item, "max_abs", _magnitude, where),
            non_finite=_field(item, "non_finite", _count, where),
        ),
    )
    if tensor.dtype not in dtypes.CODES:
        raise ValueError(f"{where}: dtype {tensor.dtype!r} cannot be patched")
    if tensor.compute not in ("F32", "F64") or (tensor.dtype == "F64" and tensor.compute != "F64"):
        raise ValueError(f"{where}: values of dtype {tensor.compute!r} do not fit {tensor.dtype}")
    if max(tensor.kept, tensor.stats.non_finite) > tensor.numel:
        raise ValueError(f"{where}: counts more than its {tensor.numel} elements")
    return tensor


def _field(
    document: Mapping[str, Any],
    key: str,
    check: Callable[[object], _FieldT | None],
    where: str = "description",
) -> _FieldT:
    value = check(document.get(key))
    if value is None:
        raise ValueError(f"{where} has no valid {key!r}")
    return value


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _list(value: object) -> list[Any] | None:
    return value if isinstance(value, list) else None


def _count(value: object) -> int | None:
    # bool is an int to Python; JSON true is no number.
    return value if type(value) is int and 0 <= value < 2**63 else None


def _magnitude(value: object) -> float | None:
    try:
        number = float.fromhex(value) if isinstance(value, str) else -1.0
    except (ValueError, OverflowError):
        return None
    return None if number < 0 else number


def _shape(value: object) -> Sequence[int] | None:
    sizes = _list(value)
    if sizes is None or any(_count(size) is None for size in sizes):
        return None
    return sizes if math.prod(size or 1 for size in sizes) < 2**60 else None


def _digest(value: object) -> str | None:
    text = _string(value)
    valid = text is not None and len(text) == DIGITS and all(digit in "0123456789abcdef" for digit in text)
    return text if valid else None
