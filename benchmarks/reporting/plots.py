"""The plots of docs/benchmarks.md."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from hashlib import sha256
from math import log2
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .cases import Benchmarks, Case
from .tables import kernel_cases, line_through

_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
#: The same colours in panels that lack one of them.
_VARIANTS = {"merge": "C0", "merge, avx2": "C1", "torch.compile": "C2", "torch in place": "C3"}
_SETS = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON", "scalar": "16 bytes"}


def draw(benchmarks: Benchmarks, folder: Path) -> None:
    """Write every plot that something was measured for, as SVG that says what it shows by a digest."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in _figures(benchmarks).items():
        metadata = {"Date": None, "Identifier": _digest(figure)}
        figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata=metadata)


def stale(benchmarks: Benchmarks, folder: Path) -> list[str]:
    """Names of the files that are missing or show something else; with any version of matplotlib."""
    digests = {folder / f"{name}.svg": _digest(figure) for name, figure in _figures(benchmarks).items()}
    return [
        path.name for path, digest in digests.items() if not path.exists() or digest not in path.read_text()
    ]


def _figures(benchmarks: Benchmarks) -> dict[str, Figure]:
    mpl.rcParams.update({"svg.hashsalt": "negmerge", "svg.fonttype": "none", "font.size": 9})
    plots = {"roofline": _roofline, "growth": _growth, "memory": _memory}
    return {name: figure for name, plot in plots.items() if (figure := plot(benchmarks)) is not None}


def _digest(figure: Figure) -> str:
    """Of titles, labels and lines; numbers to six digits, beyond which processors may compute others."""
    shown: list[object] = []
    for axis in figure.axes:
        shown.append([axis.get_title(), axis.get_xlabel(), axis.get_ylabel()])
        for line in axis.lines:
            x, y = np.asarray(line.get_data(orig=True), float).tolist()
            shown.append([line.get_label(), *([f"{value:.6g}" for value in values] for values in (x, y))])
    return f"sha256:{sha256(json.dumps(shown).encode()).hexdigest()}"


def _roofline(benchmarks: Benchmarks) -> Figure | None:
    """Bandwidth by N with that of reading: a row of panels per instruction set, a column per dtype."""
    cases = kernel_cases(benchmarks)
    sets = list(dict.fromkeys(case.parameters["instruction_set"] for case in cases))
    dtypes = list(dict.fromkeys(case.parameters["dtype"] for case in cases))
    if not cases:
        return None
    figure = Figure((3.2 * len(dtypes) + 0.6, 2.8 * len(sets) + 0.2))
    axes = figure.subplots(len(sets), len(dtypes), sharey="row", squeeze=False)
    for axis, (used, dtype) in zip(axes.flat, itertools.product(sets, dtypes), strict=True):
        if panel := kernel_cases(benchmarks, instruction_set=used, dtype=dtype):
            _bandwidths(axis, panel)
            _label(axis, f"{_DTYPES[dtype]}, {_SETS[used]}", "fine-tuned models N")
        else:
            axis.set_axis_off()
    for axis in axes[:, 0]:
        axis.set_ylabel("GB/s")
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    lines = {str(line.get_label()): line for axis in axes.flat for line in axis.lines}
    figure.legend(
        lines.values(),
        lines.keys(),
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncol=len(lines),
        frameon=False,
    )
    return figure


def _bandwidths(axis: Axes, cases: Sequence[Case]) -> None:
    """Lines of reading and of whatever was measured for all cases, which are in the order of N."""
    models = [case.parameters["models"] for case in cases]
    lines = {"plain read": [case.read_bandwidth() for case in cases]}
    for variant in _VARIANTS:
        if all(case.has(variant) for case in cases):
            lines[variant] = [case.bandwidth(variant) for case in cases]
    for name, values in lines.items():
        if name == "plain read":
            axis.plot(models, values, "k--", label=name, zorder=1)
        else:
            axis.plot(models, values, "o-", color=_VARIANTS[name], label=name, markersize=3, zorder=2)
    _scale_by_twos(axis, models)


def _growth(benchmarks: Benchmarks) -> Figure | None:
    """Time by parameters and by N, on logarithmic scales, with the line that fits best."""
    elements, models = (benchmarks["growth"].where(grows=grows) for grows in ("elements", "models"))
    if not elements or not models:
        return None
    title = f"{models[0].parameters['elements'] / 1e6:.1f} million parameters"
    panels = [
        (elements, "elements", 1e6, "million parameters", f"N = {elements[0].parameters['models']}"),
        (models, "models", 1, "fine-tuned models N", title),
    ]
    figure = Figure((6.6, 3.0))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (cases, grows, unit, label, title) in zip(axes, panels, strict=True):
        sizes = [case.parameters[grows] / unit for case in cases]
        axis.plot(sizes, [case.median("merge") * 1e3 for case in cases], "o-", markersize=3, label="merge")
        constant, slope, _ = line_through(cases, grows)
        line = [(constant + slope * size * unit) * 1e3 for size in sizes]
        axis.plot(sizes, line, "k--", label="constant + slope · x", linewidth=0.8, zorder=3)
        _scale_by_twos(axis, _powers_of_two(sizes))
        _label(axis, title, label)
    axes[0].set_yscale("log")
    low, high = axes[0].get_ylim()
    ticks = [digit * 10**power for power in range(-3, 6) for digit in (1, 2, 5)]
    ticks = [tick for tick in ticks if low <= tick <= high]
    axes[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0].minorticks_off()
    axes[0].set_ylabel("ms")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    return figure


def _memory(benchmarks: Benchmarks) -> Figure | None:
    """Peak memory above idle by model size and by N, with the bound."""
    grown, models = (benchmarks["memory"].where(grows=grows) for grows in ("size", "models"))
    if not grown or not models:
        return None
    title = f"model of {models[0].parameters['model_bytes'] / 1e9:.2g} GB"
    panels = [
        (grown, "model_bytes", 1e9, "size of the model in GB", f"N = {grown[0].parameters['models']}"),
        (models, "models", 1, "fine-tuned models N", title),
    ]
    figure = Figure((6.6, 3.0))
    axes = figure.subplots(1, 2, sharey=True)
    for axis, (cases, parameter, unit, label, title) in zip(axes, panels, strict=True):
        sizes = [case.parameters[parameter] / unit for case in cases]
        peaks = [(case.facts["peak_bytes"] - case.facts["idle_bytes"]) / 2**20 for case in cases]
        axis.plot(sizes, peaks, "o-", markersize=3, label="peak above idle")
        axis.axhline(cases[0].facts["max_memory"] / 2**20, color="k", linestyle="--", label="max_memory")
        _scale_by_twos(axis, _powers_of_two(sizes))
        _label(axis, title, label)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("MiB")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    return figure


def _powers_of_two(sizes: Sequence[float]) -> list[float]:
    """Those from about the first to about the last of ascending sizes."""
    return [2.0**power for power in range(round(log2(sizes[0])), round(log2(sizes[-1])) + 1)]


def _scale_by_twos(axis: Axes, ticks: Sequence[float]) -> None:
    axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


def _label(axis: Axes, title: str, x: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x)
    axis.spines[["top", "right"]].set_visible(False)
