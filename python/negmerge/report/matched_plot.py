"""The plot that compares methods where they retain alike, over one run or several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..results import Results
from .plot import COLOURS, finish
from .runs import envelope, matched_over_runs


def draw_matched(runs: Sequence[Results], path: Path) -> None:
    """Write a PNG to ``path``: forget accuracy against retain accuracy as a share of the base's.

    A line is the mean over the runs, a band one standard deviation on both sides. A line ends where a run
    does not retain as much.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    handles = []
    for place, method in enumerate(matched_over_runs(runs)):
        points = [point or (math.nan,) * 3 for point in envelope(runs, method.method)]
        shares, mean, std = 100 * np.array(points).T
        colour = COLOURS[place % len(COLOURS)]
        handles += axes.plot(shares, mean, color=colour, lw=1.8, label=method.title)
        if len(runs) > 1:
            axes.fill_between(shares, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    axes.set_xlabel("retain accuracy (% of the base's)")
    axes.set_ylabel("forget accuracy (%)")
    axes.invert_xaxis()
    finish(axes, f"Forgetting {runs[0].forgotten}: accuracies on validation", handles)
    figure.savefig(path, format="png")
