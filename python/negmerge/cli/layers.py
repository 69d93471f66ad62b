"""Statistics per layer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from negmerge_ext import TensorStats

_NUMBER = re.compile(r"[0-9]+")


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


def layer_of(tensor: str) -> str:
    """The layer of a tensor: its name up to the first number (``h.3`` for ``h.3.attn.q.weight``),
    which counts layers in nearly every architecture; without a number, its name without the last part.
    """
    parts = tensor.split(".")
    for index, part in enumerate(parts):
        if _NUMBER.fullmatch(part):
            return ".".join(parts[: index + 1])
    return ".".join(parts[:-1]) or tensor


def per_tensor(tensors: Iterable[TensorStats]) -> list[Row]:
    """One row per tensor, in the order of :func:`per_layer`."""
    return [_row(tensor.name, [tensor]) for members in _layers(tensors).values() for tensor in members]


def per_layer(tensors: Iterable[TensorStats]) -> list[Row]:
    """One row per layer, in model order: as in the file, but layers of one kind by their number.

    Files often hold tensors by name, and so layer 10 before layer 2.
    """
    return [_row(name, members) for name, members in _layers(tensors).items()]


def _layers(tensors: Iterable[TensorStats]) -> dict[str, list[TensorStats]]:
    layers: dict[str, list[TensorStats]] = {}
    for tensor in tensors:
        layers.setdefault(layer_of(tensor.name), []).append(tensor)
    kinds = {name: _NUMBER.sub("#", name) for name in layers}
    first = {kind: place for place, kind in reversed(list(enumerate(kinds.values())))}

    def place(name: str) -> tuple[int, list[int]]:
        return first[kinds[name]], [int(number) for number in _NUMBER.findall(name)]

    return {name: layers[name] for name in sorted(layers, key=place)}


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
