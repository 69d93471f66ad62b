"""The plot that compares methods where they retain alike, over one run or several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..metrics.matched_retain import LEVELS, forget_at_retain
from ..results import Results
from .plot import COLOURS, finish
from .runs import matched_over_runs

_STEPS = 201


def draw_matched(runs: Sequence[Results], path: Path) -> None:
    """Write a PNG to ``path``: forget accuracy against retain accuracy as a share of the base's.

    A line is the mean over the runs, a band one standard deviation on both sides. A line ends where a run
    does not retain as much.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shares = np.linspace(min(LEVELS), 1, _STEPS)
    handles = []
    for place, method in enumerate(matched_over_runs(runs)):
        values = 100 * np.array([_along(results, method.method, shares) for results in runs])
        mean, colour = values.mean(axis=0), COLOURS[place % len(COLOURS)]
        handles += axes.plot(100 * shares, mean, color=colour, lw=1.8, label=method.title)
        if len(runs) > 1:
            std = values.std(axis=0, ddof=1)
            axes.fill_between(100 * shares, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    axes.set_xlabel("retain accuracy (% of the base's)")
    axes.set_ylabel("forget accuracy (%)")
    axes.invert_xaxis()
    finish(axes, f"Forgetting {runs[0].forgotten}: accuracies on validation", handles)
    figure.savefig(path, format="png")


def _along(results: Results, method: str, shares: np.ndarray) -> list[float]:
    row = next(row for row in results.rows if row.method == method)
    levels = shares * results.rows[0].validation.retain
    values = (forget_at_retain(row.curves, level) for level in levels.tolist())
    return [np.nan if value is None else value for value in values]
