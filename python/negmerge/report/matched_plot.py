"""The plot that compares methods where they retain alike, over one run or several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..metrics.matched_retain import LEVELS
from ..results import Results
from .looks import COLOURS, covers, places
from .plot import WIDER, finish
from .runs import envelope, matched_over_runs


def draw_matched(runs: Sequence[Results], path: Path) -> None:
    """Write a PNG to ``path``: forget accuracy against retain accuracy as a share of the base's.

    Lines are lower envelopes of the curves: the lowest forget accuracy where a method retains as much or
    more. A line is the mean over the runs, a band one standard deviation on both sides. A line ends where a
    run does not retain as much.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    methods = matched_over_runs(runs)
    looks = places([method.method for method in methods])
    points = [[point or (math.nan,) * 3 for point in envelope(runs, method.method)] for method in methods]
    covered = covers([[(x, mean) for x, mean, _ in line if not math.isnan(x)] for line in points])
    handles = []
    for method, line, by in zip(methods, points, covered, strict=True):
        shares, mean, std = 100 * np.array(line).T
        colour = COLOURS[looks[method.method] % len(COLOURS)]
        handles += axes.plot(shares, mean, color=colour, lw=1.8 + by * WIDER, label=method.title)
        if len(runs) > 1:
            axes.fill_between(shares, mean - std, mean + std, color=colour, alpha=0.2, lw=0)
    axes.set_xlabel("retain accuracy (% of the base's)")
    axes.set_ylabel("forget accuracy (%)")
    axes.set_xlim(100 * min(LEVELS), 100)
    lowest = "lowest forget accuracy at this retain accuracy or more (lower envelope)"
    finish(axes, f"Forgetting {runs[0].forgotten}, on validation:\n{lowest}", handles)
    figure.savefig(path, format="png")
