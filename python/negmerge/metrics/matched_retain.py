"""Forget accuracy where methods retain alike: one chosen point per method compares two things at once.

A curve is a family's accuracies along its coefficient, in that order; between neighbours it is taken to be
straight. A model without a coefficient is a curve of one point, and a method may have several curves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

#: Retain accuracies at which methods are compared, as shares of the base's.
LEVELS = (0.99, 0.97, 0.95)
#: Evenly spaced levels in the middle of equal parts of the range that the area is taken over.
_AREA_STEPS = 1000

#: Forget and retain accuracies, in [0, 1].
Curve = Sequence[tuple[float, float]]


def forget_at_retain(curves: Sequence[Curve], level: float) -> float | None:
    """The lowest forget accuracy on any curve where retain accuracy is ``level`` or more.

    ``None`` if all curves stay below.
    """
    return min((forget for curve in curves for forget in _reached(curve, level)), default=None)


def _reached(curve: Curve, level: float) -> list[float]:
    """Forget accuracies at the points that retain enough, and where the curve crosses the level."""
    reached = [forget for forget, retain in curve if retain >= level]
    for (forget, retain), (next_forget, next_retain) in pairwise(curve):
        if (retain >= level) != (next_retain >= level):
            share = (level - retain) / (next_retain - retain)
            reached.append(forget + share * (next_forget - forget))
    return reached


def forget_area(curves: Sequence[Curve], low: float, high: float) -> float | None:
    """Mean of :func:`forget_at_retain` over the levels from ``low`` to ``high``, in [0, 1]; lower forgets
    more.

    It is the area under that function divided by the width of the range. ``None`` if the curves do not reach
    all of it.
    """
    levels = low + (high - low) * (np.arange(_AREA_STEPS) + 0.5) / _AREA_STEPS
    values = [forget_at_retain(curves, level) for level in levels.tolist()]
    known = [value for value in values if value is not None]
    return math.fsum(known) / _AREA_STEPS if len(known) == len(values) else None


@dataclass(frozen=True, slots=True)
class Matched:
    """Forget accuracy of one method in one run at every one of :data:`LEVELS`, and the area over them.

    Levels and the range of the area, the lowest level to 1, are shares of the base's retain accuracy.
    ``None`` where the method does not retain as much.
    """

    at: tuple[float | None, ...]
    area: float | None


def matched(curves: Sequence[Curve], base_retain: float) -> Matched:
    """Compare at the levels that follow from the base's retain accuracy, of the same run and images."""
    return Matched(
        at=tuple(forget_at_retain(curves, level * base_retain) for level in LEVELS),
        area=forget_area(curves, min(LEVELS) * base_retain, base_retain),
    )


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation (n − 1) over n runs; the latter is ``None`` for one run."""

    mean: float
    std: float | None
    runs: int


def spread(values: Sequence[float | None]) -> Spread | None:
    """Of one value per run; ``None`` unless every run has one. Runs that fail do not make a mean better."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    mean = math.fsum(known) / len(known)
    if len(known) == 1:
        return Spread(mean, None, 1)
    return Spread(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in known) / (len(known) - 1)), len(known))
