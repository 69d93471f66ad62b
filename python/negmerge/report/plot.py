"""The plot of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..results import Results, Row

# Okabe and Ito's palette without its yellow, which is too light for lines.
_COLOURS = ("#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
_GREY = "#666666"


def draw(results: Results, path: Path) -> None:
    """Write a PNG to ``path``: accuracy against the coefficient, and retain against forget accuracy."""
    figure = Figure(figsize=(11.5, 5.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    searched = [row for row in results.rows if row.curve]
    styles = {row.method: _style(place) for place, row in enumerate(searched)}
    _against_coefficient(left, results, searched, styles)
    _forget_against_retain(right, results, searched, styles)
    figure.suptitle(f"Forgetting {results.forgotten}")
    figure.savefig(path, format="png")


class _Style(NamedTuple):
    colour: str
    marker_size: float


def _style(place: int) -> _Style:
    """Later markers are smaller, so that those of equal results lie within each other."""
    return _Style(_COLOURS[place % len(_COLOURS)], max(5.0, 11.0 - 2.0 * place))


def _against_coefficient(axes: Axes, results: Results, rows: list[Row], styles: dict[str, _Style]) -> None:
    for row in rows:
        (colour, size), coefficients = styles[row.method], [point.coefficient for point in row.curve]
        for part, style in (("forget", "-"), ("retain", "--")):
            scores = _percent([getattr(point, part) for point in row.curve])
            axes.plot(coefficients, scores, style, color=colour, lw=1.6)
        chosen = _percent([row.validation.forget, row.validation.retain])
        axes.plot([row.coefficient] * 2, chosen, "o", color=colour, ms=size, mec="white", zorder=3)
    axes.axhline(100 * results.retain_floor, color=_GREY, ls=":", lw=1.4)
    axes.set_xlabel("scaling coefficient λ")
    axes.set_ylabel("validation accuracy (%)")
    axes.set_ylim(-3, 103)
    axes.set_xlim(left=0)
    handles = [
        *(Line2D([], [], color=styles[row.method].colour, lw=2.5, label=row.title) for row in rows),
        Line2D([], [], color=_GREY, ls="-", label="forget"),
        Line2D([], [], color=_GREY, ls="--", label="retain"),
        Line2D([], [], color=_GREY, ls=":", label=_floor_label(results)),
        Line2D([], [], color=_GREY, marker="o", ls="", label="chosen λ"),
    ]
    _finish(axes, "Accuracy against the coefficient", handles)


def _forget_against_retain(axes: Axes, results: Results, rows: list[Row], styles: dict[str, _Style]) -> None:
    for row in rows:
        forget, retain = ([getattr(point, part) for point in row.curve] for part in ("forget", "retain"))
        axes.plot(_percent(forget), _percent(retain), color=styles[row.method].colour, lw=1.4, alpha=0.8)
        _mark(axes, row, "o", styles[row.method])
    base = results.rows[0]
    _mark(axes, base, "s", _Style("black", 8))
    axes.axhline(100 * results.retain_floor, color=_GREY, ls=":", lw=1.4)
    axes.set_xlabel("forget accuracy (%)")
    axes.set_ylabel("retain accuracy (%)")
    axes.set_xlim(-3, 103)
    # The curves fall to chance; what can be chosen lies close to the top.
    lowest = min(results.retain_floor, *(min(row.test.retain, row.validation.retain) for row in results.rows))
    axes.set_ylim(100 - 200 * (1 - lowest) - 2, 100.5)
    handles = [
        *(Line2D([], [], color=styles[row.method].colour, marker="o", label=row.title) for row in rows),
        Line2D([], [], color="black", marker="s", ls="", label=base.title),
        Line2D([], [], color=_GREY, marker="o", ls="", label="validation"),
        Line2D([], [], color=_GREY, marker="o", mfc="white", mew=1.8, ls="", label="test"),
        Line2D([], [], color=_GREY, ls=":", label=_floor_label(results)),
    ]
    _finish(axes, "Retain against forget accuracy, curves on validation", handles)


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


def _percent(scores: Sequence[float]) -> list[float]:
    return [100 * score for score in scores]


def _floor_label(results: Results) -> str:
    return f"retain floor ({100 * results.retain_floor:.1f} %)"


def _finish(axes: Axes, title: str, handles: list[Line2D]) -> None:
    """Title, grid, and the legend below the axes, where no data can be."""
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False, fontsize=8.5
    )
