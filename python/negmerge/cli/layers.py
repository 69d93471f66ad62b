"""Statistics per layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from negmerge_ext import TensorStats

from ..layers import by_layer


@dataclass(frozen=True, slots=True)
class Row:
    """Statistics of one tensor, or of all tensors of one layer.

    agreement[h] counts the elements for which the larger sign camp has h of the N models, h = 0…N.
    """

    name: str
    elements: int
    kept: int
    norm: float
    max_abs: float
    non_finite: int
    agreement: tuple[int, ...]

    @property
    def kept_fraction(self) -> float:
        """Kept elements / elements of this row."""
        return self.kept / self.elements if self.elements else 0.0

    @property
    def mean_agreement(self) -> float:
        """Share of the N models that the larger sign camp has, averaged over the elements of this row."""
        models = len(self.agreement) - 1
        camps = sum(size * elements for size, elements in enumerate(self.agreement))
        return camps / (models * self.elements) if self.elements else 0.0


def per_tensor(tensors: Iterable[TensorStats]) -> list[Row]:
    """One row per tensor, in the order of :func:`per_layer`."""
    return [_row(tensor.name, [tensor]) for members in by_layer(tensors).values() for tensor in members]


def per_layer(tensors: Iterable[TensorStats]) -> list[Row]:
    """One row per layer, in the order of :func:`~negmerge.layers.by_layer`."""
    return [_row(name, members) for name, members in by_layer(tensors).items()]


def total(tensors: Iterable[TensorStats]) -> Row:
    """All tensors as one row."""
    return _row("total", list(tensors))


def _row(name: str, members: Sequence[TensorStats]) -> Row:
    return Row(
        name=name,
        elements=sum(tensor.elements for tensor in members),
        kept=sum(tensor.kept for tensor in members),
        norm=math.hypot(*(tensor.norm for tensor in members)),
        max_abs=max(tensor.max_abs for tensor in members),
        non_finite=sum(tensor.non_finite for tensor in members),
        agreement=tuple(map(sum, zip(*(tensor.agreement or () for tensor in members), strict=True))),
    )
