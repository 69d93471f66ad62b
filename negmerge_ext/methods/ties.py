"""Trim, elect a sign, and merge what agrees with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from .method import Method, Parameter, Trim, Value

_PER = ("model", "tensor")


def _density(given: object) -> float:
    try:
        density = float(given) if isinstance(given, int | float | str) else 0.0
    except ValueError:
        density = 0.0
    if isinstance(given, bool) or not 0 < density <= 1:
        raise ValueError("a number above 0 and at most 1")
    return density


def _per(given: object) -> str:
    if given not in _PER:
        raise ValueError(f"one of {', '.join(_PER)}")
    return str(given)


def _trimmed(settings: Mapping[str, Value]) -> Trim:
    return Trim(float(settings["density"]), cast(Literal["model", "tensor"], settings["per"]))


TIES = Method(
    name="ties",
    code=4,
    keeps="mean of those largest entries that have the sign of their sum",
    source="Yadav et al., TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023",
    values=4,
    parameters=(
        Parameter("density", 0.2, "share of each task vector that is looked at, by magnitude", _density),
        Parameter("per", "model", "what it is a share of: the whole model, or each tensor", _per),
    ),
    trimmed=_trimmed,
)
