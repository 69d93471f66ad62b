"""The scaling coefficient of a family of models, searched on the validation split."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from . import recipe

#: Coefficients are multiples of this, so that the same one reached on two ways is tried once.
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Point:
    """Validation accuracies at one coefficient, and the average gap to Retrain where that is minimised."""

    coefficient: float
    forget: float
    retain: float
    gap: float | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    points: all coefficients tried, ascending; the first is 0, the base itself. chosen: one of them.
    evaluations: passes over the validation split. at_limit: whether a better coefficient may lie beyond the
    largest one allowed.
    """

    points: tuple[Point, ...]
    chosen: Point
    evaluations: int
    at_limit: bool

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SearchResult:
        """The inverse of :func:`dataclasses.asdict`."""
        points = tuple(Point(**point) for point in plain["points"])
        return cls(**{**plain, "points": points, "chosen": Point(**plain["chosen"])})


class LeastForget:
    """Objective: the lowest forget accuracy at a retain accuracy of ``floor`` or more."""

    def __init__(self, floor: float) -> None:
        self._floor = floor

    def preference(self, point: Point) -> tuple[float, ...]:
        """Sorts points, the one to choose first: those that qualify, or else are closest to it, forget most,
        retain most, move least.
        """
        return max(0.0, self._floor - point.retain), point.forget, -point.retain, point.coefficient

    def may_improve_beyond(self, last: Point, best: Point) -> bool:
        """Whether to try larger coefficients than ``last``'s, the largest so far.

        Forgetting may start late: a coefficient that harms nothing and forgets little is no end.
        """
        return last.retain >= self._floor and (last.forget > 0 or last == best)


class LeastGap:
    """Objective: the smallest average gap to Retrain."""

    def preference(self, point: Point) -> tuple[float, ...]:
        """Sorts points, the one to choose first: smallest gap, highest retain accuracy, least movement."""
        return _gap(point), -point.retain, point.coefficient

    def may_improve_beyond(self, last: Point, best: Point) -> bool:
        """Whether the largest coefficient so far, ``last``'s, is as good as any."""
        return _gap(last) <= _gap(best)


Objective = LeastForget | LeastGap


def search(
    evaluate: Callable[[Sequence[float]], Iterable[Point]], base: Point, aim: Objective, spec: recipe.Search
) -> SearchResult:
    """The coefficient that is best by ``aim``.

    evaluate: gives the points of coefficients, which do not depend on each other, in order.

    ``spec.points`` coefficients over [0, 1] are tried first. While larger ones may be better still, the range
    is doubled, up to ``spec.limit``. Then the gaps on both sides of the best are divided into five.
    Coefficient 0 is the base, which ``base`` is known of; it costs nothing and always qualifies, so there is
    always a result.
    """
    points = {0.0: base}

    def add(coefficients: Iterable[float]) -> None:
        rounded = dict.fromkeys(round(value, _DECIMALS) for value in coefficients)
        new = [coefficient for coefficient in rounded if coefficient not in points]
        points.update(zip(new, evaluate(new), strict=True))

    def best() -> Point:
        return min(points.values(), key=aim.preference)

    def open_ended() -> bool:
        return aim.may_improve_beyond(points[max(points)], best())

    intervals = spec.points - 1
    add(_between(0.0, 1.0, intervals))
    limit = round(spec.limit, _DECIMALS)
    while open_ended() and max(points) < limit:
        reached = max(points)
        add(_between(reached, min(2 * reached, limit), -(-intervals // 2)))
    for _ in range(spec.refinements):
        tried = sorted(points)
        place = tried.index(best().coefficient)
        beside = pairwise(tried[max(place - 1, 0) : place + 2])
        add(itertools.chain.from_iterable(_between(low, high, 5) for low, high in beside))
    return SearchResult(
        points=tuple(points[coefficient] for coefficient in sorted(points)),
        chosen=best(),
        evaluations=len(points) - 1,
        at_limit=open_ended(),
    )


def _gap(point: Point) -> float:
    if point.gap is None:
        raise ValueError("the smallest gap is searched among points that have no gap")
    return point.gap


def _between(low: float, high: float, intervals: int) -> list[float]:
    """Evenly spaced values from just above ``low`` to ``high``."""
    return [low + (high - low) * step / intervals for step in range(1, intervals + 1)]
