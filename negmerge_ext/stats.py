"""What a merge reports: per-tensor statistics of the merged vector, totals, times and bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

#: One row per tensor, accumulated in place by the native merge (``csrc/cpu/run.h``).
NATIVE_STATS = np.dtype([("kept", "<i8"), ("non_finite", "<i8"), ("sum_squares", "<f8"), ("max_abs", "<f8")])


@dataclass(frozen=True, slots=True)
class TensorStats:
    """Statistics of one merged tensor.

    elements: number of elements of the tensor. kept: elements that entered the merged vector.
    norm: its L2 norm. max_abs: its largest magnitude. non_finite: elements whose sum of task vectors
    is not finite (an input is infinite or NaN, or the sum overflowed). agreement: for a call that
    asked for it, ``agreement[h]`` = elements for which the larger of the two sign camps has h of the N
    models (exact zeros and NaN are in neither camp), h = 0…N.
    """

    name: str
    elements: int
    kept: int
    norm: float
    max_abs: float
    non_finite: int
    agreement: tuple[int, ...] | None = None

    @property
    def kept_fraction(self) -> float:
        """Fraction of this tensor's elements that were kept (0 for an empty tensor)."""
        return self.kept / self.elements if self.elements else 0.0


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did.

    merged holds one entry per merged tensor, copied the names of tensors taken from the base as they
    are. model_elements counts every element of the base, merged or copied; bytes are what was read
    from the inputs and written to the output; seconds is wall time; device is where it was done ("cpu",
    "cuda:0" or several); buffer_bytes is the main memory that the merge reserved for its buffers,
    device_bytes what it took of a device's memory to merge files there. outputs are the files written.
    """

    method: str
    scale: float
    mode: str
    models: int
    merged: tuple[TensorStats, ...] = field(repr=False)
    copied: tuple[str, ...] = field(repr=False)
    model_elements: int
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    device: str = "cpu"
    buffer_bytes: int = 0
    device_bytes: int = 0
    outputs: tuple[str, ...] = field(default=())
    resumed: bool = False
    verified: bool = False

    @property
    def elements(self) -> int:
        """Elements of the merged tensors."""
        return sum(tensor.elements for tensor in self.merged)

    @property
    def kept(self) -> int:
        """Elements that entered the merged vector."""
        return sum(tensor.kept for tensor in self.merged)

    @property
    def kept_of_merged(self) -> float:
        """Fraction of the merged tensors' elements that were kept."""
        return self.kept / self.elements if self.elements else 0.0

    @property
    def kept_of_model(self) -> float:
        """Fraction of all elements of the base that were kept, copied tensors included in the count."""
        return self.kept / self.model_elements if self.model_elements else 0.0

    @property
    def norm(self) -> float:
        """L2 norm of the whole merged vector."""
        return math.hypot(*(tensor.norm for tensor in self.merged))

    @property
    def max_abs(self) -> float:
        return max((tensor.max_abs for tensor in self.merged), default=0.0)

    @property
    def non_finite(self) -> int:
        return sum(tensor.non_finite for tensor in self.merged)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the fields, the totals and a row per tensor."""
        totals = {
            "elements": self.elements,
            "kept": self.kept,
            "kept_fraction_of_merged_elements": self.kept_of_merged,
            "kept_fraction_of_model_elements": self.kept_of_model,
            "norm": self.norm,
            "max_abs": self.max_abs,
            "non_finite": self.non_finite,
        }
        plain = {key: value for key, value in asdict(self).items() if key != "merged"}
        rows = [asdict(tensor) | {"kept_fraction": tensor.kept_fraction} for tensor in self.merged]
        return plain | {"totals": totals, "tensors": rows}

    def to_json(self) -> str:
        """:meth:`to_dict` as JSON text; infinities and NaN become ``null``."""
        return json.dumps(_finite(self.to_dict()), indent=2, allow_nan=False)


def tensor_stats(
    names: Iterable[str],
    elements: Iterable[int],
    rows: np.ndarray,
    agreement: np.ndarray | None = None,
) -> tuple[TensorStats, ...]:
    """Turn native rows (:data:`NATIVE_STATS`, and the ``[tensors, N + 1]`` histogram) into reports."""
    found = []
    for index, (name, count, row) in enumerate(zip(names, elements, rows, strict=True)):
        histogram = None if agreement is None else tuple(int(n) for n in agreement[index])
        found.append(
            TensorStats(
                name=name,
                elements=int(count),
                kept=int(row["kept"]),
                norm=math.sqrt(row["sum_squares"]),
                max_abs=float(row["max_abs"]),
                non_finite=int(row["non_finite"]),
                agreement=histogram,
            )
        )
    return tuple(found)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
