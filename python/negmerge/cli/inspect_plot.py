"""The figure of ``negmerge inspect``: what is kept where, and how far the models agree."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import text
from .layers import per_layer, total

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from negmerge_ext import MergeReport

# Blue, vermilion and grey of the Okabe-Ito palette: distinct for colour-blind readers too.
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#999999"
_MOST_LABELS = 60


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
    figure.savefig(path)


def _kept_by_layer(axes: Axes, report: MergeReport) -> None:
    rows = per_layer(report.merged)
    places = np.arange(len(rows))
    shares = [100 * row.kept_fraction for row in rows]
    overall = 100 * report.kept_of_merged
    axes.barh(places, shares, height=0.8, color=_BLUE, label="of the layer")
    axes.axvline(overall, color=_VERMILION, ls="--", lw=1.2, label=f"of all merged elements: {overall:.1f} %")
    every = math.ceil(len(rows) / _MOST_LABELS)
    axes.set_yticks(places[::every], [row.name for row in rows[::every]])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, 1.05 * max(shares) or 1)
    axes.set_xlabel("kept elements (%)")
    _finish(axes, "Kept elements by layer, in model order")


def _agreement(axes: Axes, report: MergeReport) -> None:
    counts = np.array(total(report.merged).agreement, dtype=np.float64)
    share = 100 * counts / max(report.elements, 1)
    edges = np.arange(len(share) + 1) - 0.5
    axes.stairs(share, edges, fill=True, color=_BLUE, alpha=0.35)
    axes.stairs(share[-1:], edges[-2:], fill=True, color=_BLUE, label=f"all models agree: {share[-1]:.1f} %")
    smallest = (report.models + 1) // 2
    camps = np.arange(smallest, report.models + 1)
    chance = 100 * _by_chance(report.models)[smallest:]
    marker = "o" if len(camps) <= 40 else None
    axes.plot(camps, chance, color=_GREY, marker=marker, ms=3.5, lw=1.2, label="if signs were random")
    axes.set_xlim(-0.6, len(share) - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(0, None)
    axes.set_xlabel("models in the larger sign camp")
    axes.set_ylabel("merged elements (%)")
    _finish(axes, "Sign agreement")


def _by_chance(models: int) -> np.ndarray:
    """Probability that the larger camp of ``models`` fair coins has h members, h = 0…models."""
    chance = np.zeros(models + 1)
    for heads in range(models + 1):
        chance[max(heads, models - heads)] += math.comb(models, heads) / 2**models
    return chance


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", pad=22)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.3, frameon=False, fontsize=8, ncols=2
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25, lw=0.6)
    axes.set_axisbelow(True)
