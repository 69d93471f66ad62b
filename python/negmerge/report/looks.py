"""How methods look in charts: one colour and one shape for each, the same in every report."""

from __future__ import annotations

from collections.abc import Sequence

from ..methods import METHODS

#: Of the methods in the order of their registration, so the last is NegMerge's; then of others. The style
#: sheet of the page has them too, as ``s1``, ``s2`` …
COLOURS = (
    *("#7c4a2d", "#0b6fae", "#0a8462", "#b1477f", "#7a5cc0", "#8a7a10", "#3a8fb7", "#c2650a"),
    *("#b3261e", "#1f5c3a", "#2b3a8c", "#c9a400", "#7d1050", "#009c9c"),
)


def places(methods: Sequence[str]) -> dict[str, int]:
    """A number from 0 for every method but the base, whatever others there are.

    Methods that are not registered come behind those that are, in the order of ``methods``.
    """
    known = METHODS.names
    others = [method for method in methods if method != "base" and method not in known]
    ordered = (*known, *others)
    return {method: ordered.index(method) for method in methods if method != "base"}


def covers(curves: Sequence[Sequence[tuple[float, float]]]) -> list[int]:
    """By how many later curves each one is covered: they have more than half of its points.

    Whoever draws them in this order draws the covered ones wider, so that all can be seen.
    """
    points = [{(round(x, 6), round(y, 6)) for x, y in curve} for curve in curves]
    return [
        sum(len(one & later) > len(one) / 2 for later in points[place + 1 :])
        for place, one in enumerate(points)
    ]
