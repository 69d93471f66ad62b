"""Which layer a tensor belongs to, and the order of layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, TypeVar

_NUMBER = re.compile(r"[0-9]+")


class Named(Protocol):
    """Anything about one tensor."""

    @property
    def name(self) -> str: ...


_NamedT = TypeVar("_NamedT", bound=Named)


def layer_of(tensor: str) -> str:
    """The layer of a tensor: its name up to the first number (``h.3`` for ``h.3.attn.q.weight``),
    which counts layers in nearly every architecture; without a number, its name without the last part.
    """
    parts = tensor.split(".")
    for index, part in enumerate(parts):
        if _NUMBER.fullmatch(part):
            return ".".join(parts[: index + 1])
    return ".".join(parts[:-1]) or tensor


def by_layer(tensors: Iterable[_NamedT]) -> dict[str, list[_NamedT]]:
    """Tensors by layer, in model order: as they are given, but layers of one kind by their number.

    Files often hold tensors by name, and so layer 10 before layer 2.
    """
    layers: dict[str, list[_NamedT]] = {}
    for tensor in tensors:
        layers.setdefault(layer_of(tensor.name), []).append(tensor)
    kinds = {name: _NUMBER.sub("#", name) for name in layers}
    first = {kind: place for place, kind in reversed(list(enumerate(kinds.values())))}

    def place(name: str) -> tuple[int, list[int]]:
        return first[kinds[name]], [int(number) for number in _NUMBER.findall(name)]

    return {name: layers[name] for name in sorted(layers, key=place)}
