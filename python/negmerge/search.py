"""The scaling coefficient of a merged vector, searched on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from . import recipe
from .evaluate import Scores

#: Coefficients are multiples of this, so that the same one reached on two ways is tried once.
_DECIMALS = 6


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """Validation accuracies at one coefficient."""

    coefficient: float
    forget: float
    retain: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    points: all coefficients tried, ascending; the first is 0, the base itself. chosen: one of them. floor:
    the least retain accuracy that qualifies. evaluations: passes over the validation split. at_limit: whether
    a better coefficient may lie beyond the largest one allowed.
    """

    points: tuple[Point, ...]
    chosen: Point
    floor: float
    evaluations: int
    at_limit: bool

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SearchResult:
        """The inverse of :func:`dataclasses.asdict`."""
        points = tuple(Point(**point) for point in plain["points"])
        return cls(**{**plain, "points": points, "chosen": Point(**plain["chosen"])})


def search(evaluate: Callable[[float], Scores], base: Scores, spec: recipe.Search) -> SearchResult:
    """The coefficient that forgets most while retain accuracy is at least ``retain_ratio`` × the base's.

    Ties go to the higher retain accuracy, then to the smaller coefficient. ``spec.points`` coefficients over
    [0, 1] are tried first. While the largest one tried still qualifies and either is the best so far or has
    not forgotten everything, the range is doubled, up to ``spec.limit``. Then the gaps on both sides of the
    best are divided into five. Coefficient 0 is the base, costs nothing and always qualifies, so there is
    always a result.
    """
    floor = spec.retain_ratio * base.retain
    points = {0.0: Point(0.0, base.forget, base.retain)}

    def add(coefficients: Iterable[float]) -> None:
        for coefficient in (round(value, _DECIMALS) for value in coefficients):
            if coefficient not in points:
                scores = evaluate(coefficient)
                points[coefficient] = Point(coefficient, scores.forget, scores.retain)

    def best() -> Point:
        return min((point for point in points.values() if point.retain >= floor), key=preference)

    def open_ended() -> bool:
        last = points[max(points)]
        return last.retain >= floor and (last.forget > 0 or last == best())

    intervals = spec.points - 1
    add(_between(0.0, 1.0, intervals))
    limit = round(spec.limit, _DECIMALS)
    while open_ended() and max(points) < limit:
        reached = max(points)
        add(_between(reached, min(2 * reached, limit), -(-intervals // 2)))
    for _ in range(spec.refinements):
        tried = sorted(points)
        place = tried.index(best().coefficient)
        for low, high in pairwise(tried[max(place - 1, 0) : place + 2]):
            add(_between(low, high, 5))
    return SearchResult(
        points=tuple(sorted(points.values())),
        chosen=best(),
        floor=floor,
        evaluations=len(points) - 1,
        at_limit=open_ended(),
    )


def preference(point: Point) -> tuple[float, float, float]:
    """Sorts qualifying points: the first is the one to choose."""
    return point.forget, -point.retain, point.coefficient


def _between(low: float, high: float, intervals: int) -> list[float]:
    """Evenly spaced values from just above ``low`` to ``high``."""
    return [low + (high - low) * step / intervals for step in range(1, intervals + 1)]
