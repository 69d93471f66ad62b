"""The table of ``negmerge inspect``: a row per layer or tensor, and the totals."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from . import text
from .show import collecting, show, show_exactly
from .summary import kept_fractions

if TYPE_CHECKING:
    from negmerge_ext import MergeReport

    from .layers import Row


#: Longer names are shortened.
_LONGEST_NAME = 120


class By(str, Enum):
    layer = "layer"
    tensor = "tensor"


class Sort(str, Enum):
    model = "model"
    elements = "elements"
    kept = "kept"
    agreement = "agreement"
    norm = "norm"
    max = "max"
    non_finite = "non-finite"


def print_table(report: MergeReport, by: By, sort: Sort, top: int | None) -> None:
    """Print the first ``top`` rows of a report that has agreement histograms, and its totals."""
    from rich.measure import Measurement
    from rich.table import Table

    from .layers import per_layer, per_tensor

    rows = per_layer(report.merged) if by is By.layer else per_tensor(report.merged)
    rows = _sorted(rows, sort)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(by.value, overflow="fold")
    for heading in ("elements", "kept %", "agree %", "norm", "max", "inf/nan"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows[:top]:
        table.add_row(*_cells(row))
    if top is not None and top < len(rows):
        table.caption = f"{len(rows) - top} more rows"
        table.caption_justify = "left"

    console, collected = collecting()
    if not console.is_terminal:
        console.width = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    console.print(table)
    show_exactly(collected.getvalue())
    show(_totals(report))


def _sorted(rows: list[Row], sort: Sort) -> list[Row]:
    keys = {
        Sort.elements: lambda row: row.elements,
        Sort.kept: lambda row: row.kept_fraction,
        Sort.agreement: lambda row: row.mean_agreement,
        Sort.norm: lambda row: row.norm,
        Sort.max: lambda row: row.max_abs,
        Sort.non_finite: lambda row: row.non_finite,
    }
    return rows if sort is Sort.model else sorted(rows, key=keys[sort], reverse=True)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        text.name(row.name, _LONGEST_NAME),
        text.count(row.elements),
        f"{100 * row.kept_fraction:.2f}",
        f"{100 * row.mean_agreement:.2f}",
        f"{row.norm:.4g}",
        f"{row.max_abs:.3g}",
        text.count(row.non_finite),
    )


def _totals(report: MergeReport) -> str:
    from .layers import total

    agreement = text.percent(total(report.merged).mean_agreement)
    kept = kept_fractions(report.kept_of_merged, report.elements, report.kept_of_model, report.model_elements)
    return (
        f"{text.count(report.models, 'model')}, {report.method}: {kept}\n"
        f"agreement {agreement}, norm {report.norm:.6g}, max {report.max_abs:.4g}, "
        f"{text.count(report.non_finite, 'non-finite element')}, "
        f"{text.count(len(report.copied), 'tensor')} not merged\n"
        f"read {text.size(report.bytes_read)} in {text.seconds(report.seconds)}"
    )
