"""The plots of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .cases import Benchmark
from .tables import line_through

Benchmarks = Mapping[str, Benchmark]
_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def draw(benchmarks: Benchmarks, folder: Path) -> None:
    """Write every plot that something was measured for, as SVG."""
    mpl.rcParams.update({"svg.hashsalt": "negmerge", "svg.fonttype": "none", "font.size": 9})
    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in (("roofline", _roofline), ("growth", _growth), ("memory", _memory)):
        if figure := plot(benchmarks):
            figure.savefig(folder / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})


def _roofline(benchmarks: Benchmarks) -> Figure | None:
    """Bandwidth by N, one panel per dtype, with that of reading."""
    panels = {
        label: sorted(benchmarks["kernel"].where(dtype=dtype), key=lambda case: case.parameters["models"])
        for dtype, label in _DTYPES.items()
    }
    panels = {label: cases for label, cases in panels.items() if cases}
    if not panels:
        return None
    figure = Figure((3.2 * len(panels) + 0.6, 3.0))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (label, cases) in zip(axes, panels.items(), strict=True):
        models = [case.parameters["models"] for case in cases]
        lines = {"plain read": [case.read_bandwidth() for case in cases]}
        for variant in ("merge", "merge, avx2", "torch.compile", "torch in place"):
            if all(case.has(variant) for case in cases):
                lines[variant] = [case.bandwidth(variant) for case in cases]
        for name, values in lines.items():
            read = name == "plain read"
            axis.plot(
                models, values, "k--" if read else "o-", label=name, markersize=3, zorder=1 if read else 2
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks(models, [str(n) for n in models])
        _label(axis, label, "fine-tuned models N", None)
    axes[0].set_ylabel("GB/s")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False, fontsize=7)
    return figure


def _growth(benchmarks: Benchmarks) -> Figure | None:
    """Time by parameters and by N, on logarithmic scales, with the line that fits best."""
    panels = [("elements", "parameters", "N = 8"), ("models", "fine-tuned models N", "4 194 304 parameters")]
    if not all(benchmarks["growth"].where(grows=grows) for grows, _, _ in panels):
        return None
    figure = Figure((6.6, 3.0))
    for axis, (grows, label, title) in zip(figure.subplots(1, 2), panels, strict=True):
        cases = benchmarks["growth"].where(grows=grows)
        sizes = [case.parameters[grows] for case in cases]
        times = [case.median("merge") * 1e3 for case in cases]
        axis.loglog(sizes, times, "o-", markersize=3, label="merge")
        constant, slope, _ = line_through(cases, grows)
        line = [(constant + slope * size) * 1e3 for size in sizes]
        axis.loglog(sizes, line, "k--", label="constant + slope · x", zorder=1)
        _label(axis, title, label, "ms")
        axis.legend(frameon=False)
    figure.tight_layout()
    return figure


def _memory(benchmarks: Benchmarks) -> Figure | None:
    """Peak memory above idle by model size and by N, with the bound."""
    panels = [("size", "model_bytes", 1e9, "size of the model in GB"), ("models", "models", 1, "N")]
    if not all(benchmarks["memory"].where(grows=grows) for grows, _, _, _ in panels):
        return None
    figure = Figure((6.6, 3.0))
    for axis, (grows, parameter, unit, label) in zip(figure.subplots(1, 2, sharey=True), panels, strict=True):
        cases = benchmarks["memory"].where(grows=grows)
        sizes = [case.parameters[parameter] / unit for case in cases]
        peaks = [(case.facts["peak_bytes"] - case.facts["idle_bytes"]) / 2**20 for case in cases]
        axis.plot(sizes, peaks, "o-", markersize=3, label="peak above idle")
        axis.axhline(cases[0].facts["max_memory"] / 2**20, color="k", linestyle="--", label="max_memory")
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
        axis.set_ylim(bottom=0)
        _label(axis, "", label, "MiB")
        axis.legend(frameon=False)
    figure.tight_layout()
    return figure


def _label(axis: Axes, title: str, x: str, y: str | None) -> None:
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(x)
    if y is not None:
        axis.set_ylabel(y)
    axis.spines[["top", "right"]].set_visible(False)
