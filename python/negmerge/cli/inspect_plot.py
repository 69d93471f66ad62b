"""The figure of ``negmerge inspect``: what is kept where, and how far the models agree."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..chance import by_chance
from . import text
from .layers import per_layer, total

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from negmerge_ext import MergeReport

# Blue, vermilion and grey of the Okabe-Ito palette: distinct for colour-blind readers too.
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#999999"
_MOST_LABELS = 60
_LONGEST_LABEL = 32
_MOST_BINS = 50


def draw(report: MergeReport, path: Path) -> None:
    """Write the figure to ``path``; its suffix chooses the format."""
    layers = min(len(per_layer(report.merged)), _MOST_LABELS)
    figure = Figure(figsize=(11, max(4.2, 1.6 + 0.17 * layers)), layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _kept_by_layer(left, report)
    _agreement(right, report)
    models = text.count(report.models, "fine-tuned model")
    figure.suptitle(f"{report.method}, {models}, {text.count(report.elements)} merged elements", fontsize=11)
    with warnings.catch_warnings():  # a name in a script that the font lacks shows as boxes
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(path)


def _kept_by_layer(axes: Axes, report: MergeReport) -> None:
    rows = per_layer(report.merged)
    places = np.arange(len(rows))
    shares = [100 * row.kept_fraction for row in rows]
    overall = 100 * report.kept_of_merged
    axes.barh(places, shares, height=0.8, color=_BLUE, label="of the layer")
    axes.axvline(overall, color=_VERMILION, ls="--", lw=1.2, label=f"of all merged elements: {overall:.1f} %")
    every = math.ceil(len(rows) / _MOST_LABELS)
    labels = [text.name(row.name, _LONGEST_LABEL) for row in rows[::every]]
    axes.set_yticks(places[::every], labels, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.05 * max(shares) or 1)
    axes.set_xlabel("kept elements (%)")
    _finish(axes, "Kept elements by layer, in model order")


def _agreement(axes: Axes, report: MergeReport) -> None:
    models = report.models
    counts = np.array(total(report.merged).agreement, dtype=np.float64)
    share = 100 * counts / max(report.elements, 1)
    smallest = (models + 1) // 2  # of the larger camp, unless task vectors have zeros or NaN
    width = math.ceil((models - smallest + 1) / _MOST_BINS)
    starts = np.arange(models + 1 - width, smallest - width, -width)[::-1]  # the last bin ends at all models
    bins = _summed(share, starts, width)
    unanimous, fewer = share[models], share[: max(starts[0], 0)].sum()

    edges = starts - 0.5
    axes.bar(edges, bins, width, align="edge", color=_BLUE, alpha=0.35)
    axes.bar(edges[-1:], unanimous, width, align="edge", color=_BLUE)
    if fewer:
        axes.bar(
            edges[0] - width, fewer, width, align="edge", color=_GREY, alpha=0.5, label="fewer: zeros or NaN"
        )
    chance = _summed(100 * by_chance(models), starts, width)
    middles = edges + width / 2
    axes.plot(middles, chance, color=_GREY, marker="o", ms=3.5, lw=1.2, label="if signs were random")
    axes.text(
        0.99,
        0.99,
        f"all models agree: {unanimous:.1f} %",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=9,
        color=_BLUE,
    )
    axes.set_xlim(edges[0] - (1.2 if fewer else 0.2) * width, models + 0.5 + 0.2 * width)
    ticks = MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]).tick_values(smallest, models)
    axes.set_xticks([tick for tick in ticks if smallest <= tick <= models])
    axes.set_ylim(0, 1.15 * max(bins.max(), chance.max(), fewer))
    axes.set_xlabel("models in the larger sign camp")
    axes.set_ylabel("merged elements (%)")
    _finish(axes, "Sign agreement")


def _summed(values: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    return np.array([values[max(start, 0) : start + width].sum() for start in starts])


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", pad=22)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, frameon=False, fontsize=8, ncols=2
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
