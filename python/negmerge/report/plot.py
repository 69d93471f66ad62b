"""The plot of a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..results import Results, Row
from .looks import COLOURS, covers, places

_GREY = "#666666"
#: How much wider a line is for every one that lies on it, in points.
WIDER = 2.6
#: Of models without a curve: the base, Retrain, and others that have no coefficient.
_MARKERS = ("s", "D", "^", "v", "P", "X", "*")


def draw(results: Results, path: Path) -> None:
    """Write a PNG to ``path``: accuracy against the coefficient, and retain against forget accuracy."""
    figure = Figure(figsize=(11.5, 5.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    searched = [row for row in results.rows if len(row.curve) > 1]
    looks = places([row.method for row in results.rows])
    styles = {
        row.method: _Style(COLOURS[looks[row.method] % len(COLOURS)], _marker_size(place))
        for place, row in enumerate(searched)
    }
    _against_coefficient(left, results, searched, styles)
    _forget_against_retain(right, results, searched, styles)
    figure.suptitle(f"Forgetting {results.forgotten}")
    figure.savefig(path, format="png")


class _Style(NamedTuple):
    colour: str
    marker_size: float


def _marker_size(place: int) -> float:
    """Later markers are smaller, so that those of equal results lie within each other."""
    return max(5.0, 11.0 - 2.0 * place)


def _against_coefficient(axes: Axes, results: Results, rows: list[Row], styles: dict[str, _Style]) -> None:
    covered = covers([[(point.coefficient, point.forget) for point in row.curve] for row in rows])
    for row, by in zip(rows, covered, strict=True):
        (colour, size), coefficients = styles[row.method], [point.coefficient for point in row.curve]
        for part, style in (("forget", "-"), ("retain", "--")):
            scores = percent([getattr(point, part) for point in row.curve])
            axes.plot(coefficients, scores, style, color=colour, lw=1.6 + by * WIDER)
        if row.coefficient is not None:
            chosen = percent([row.validation.forget, row.validation.retain])
            axes.plot([row.coefficient] * 2, chosen, "o", color=colour, ms=size, mec="white", zorder=3)
    floor = _draw_floor(axes, results)
    axes.set_xlabel("scaling coefficient λ")
    axes.set_ylabel("validation accuracy (%)")
    axes.set_ylim(-3, 103)
    axes.set_xlim(left=0)
    handles = [
        *(Line2D([], [], color=styles[row.method].colour, lw=2.5, label=row.title) for row in rows),
        Line2D([], [], color=_GREY, ls="-", label="forget"),
        Line2D([], [], color=_GREY, ls="--", label="retain"),
        *floor,
        Line2D([], [], color=_GREY, marker="o", ls="", label="chosen λ"),
    ]
    finish(axes, "Accuracy against the coefficient", handles)


def _forget_against_retain(axes: Axes, results: Results, rows: list[Row], styles: dict[str, _Style]) -> None:
    covered = covers([[(point.forget, point.retain) for point in row.curve] for row in rows])
    for row, by in zip(rows, covered, strict=True):
        forget, retain = ([getattr(point, part) for point in row.curve] for part in ("forget", "retain"))
        axes.plot(
            percent(forget), percent(retain), color=styles[row.method].colour, lw=1.4 + by * WIDER, alpha=0.8
        )
        _mark(axes, row, "o", styles[row.method])
    single = list(zip((row for row in results.rows if len(row.curve) <= 1), cycle(_MARKERS), strict=False))
    for row, marker in single:
        _mark(axes, row, marker, _Style("black", 8))
    floor = _draw_floor(axes, results)
    axes.set_xlabel("forget accuracy (%)")
    axes.set_ylabel("retain accuracy (%)")
    axes.set_xlim(-3, 103)
    # The curves fall to chance; what can be chosen lies close to the top.
    lowest = min(min(row.test.retain, row.validation.retain) for row in results.rows)
    if results.retain_floor is not None:
        lowest = min(lowest, results.retain_floor)
    axes.set_ylim(100 - 200 * (1 - lowest) - 2, 100.5)
    handles = [
        *(Line2D([], [], color=styles[row.method].colour, marker="o", label=row.title) for row in rows),
        *(Line2D([], [], color="black", marker=marker, ls="", label=row.title) for row, marker in single),
        Line2D([], [], color=_GREY, marker="o", ls="", label="validation"),
        Line2D([], [], color=_GREY, marker="o", mfc="white", mew=1.8, ls="", label="test"),
        *floor,
    ]
    finish(axes, "Retain against forget accuracy, curves on validation", handles)


def _mark(axes: Axes, row: Row, marker: str, style: _Style) -> None:
    """What was chosen: filled on validation, open on test."""
    look: dict[str, Any] = {
        "color": style.colour,
        "ms": style.marker_size,
        "mew": 1.8,
        "zorder": 3,
        "clip_on": False,
    }
    for scores, fill in ((row.validation, style.colour), (row.test, "white")):
        axes.plot(100 * scores.forget, 100 * scores.retain, marker, mfc=fill, **look)


def percent(scores: Sequence[float]) -> list[float]:
    """Shares in per cent."""
    return [100 * score for score in scores]


def _draw_floor(axes: Axes, results: Results) -> list[Line2D]:
    """The retain accuracy that a choice must keep, if there is one; what the legend says of it."""
    if results.retain_floor is None:
        return []
    (floor,) = percent([results.retain_floor])
    label = f"retain floor ({floor:.1f} %)"
    return [axes.axhline(floor, color=_GREY, ls=":", lw=1.4, label=label)]


def finish(axes: Axes, title: str, handles: list[Line2D]) -> None:
    """Title, grid, and the legend below the axes, where no data can be."""
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8.5
    )
