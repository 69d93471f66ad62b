"""``negmerge inspect``: agreement, kept fraction and norms of a merge, without writing it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from negmerge_ext.errors import OutputError

from .commands import make_command
from .inspect_table import By, Sort, print_table
from .options import (
    OUTPUT,
    AsJson,
    Base,
    Device,
    Exclude,
    Finetuned,
    Include,
    MaxMemory,
    Method,
    Quiet,
    Threads,
    one_of,
    path,
    positive,
)
from .show import show_exactly

EXAMPLES = """\
Examples:
  negmerge inspect base.safetensors pool/*.safetensors
  negmerge inspect base/ ft1/ ft2/ --by tensor --sort agreement --top 20
  negmerge inspect base.safetensors pool/*.safetensors --plot figure.png
  negmerge inspect base.safetensors pool/*.safetensors --json > report.json

Columns:
  layer      a tensor's name up to its first number (h.3.attn.q.weight is
             in h.3); without a number, its name without the last part
  kept %     share of the row's elements that enter the merged vector
  agree %    share of the models that the larger sign camp of an element
             has, averaged over the row's elements
  norm, max  L2 norm and largest magnitude of the merged vector, before the
             scaling coefficient
  inf/nan    elements whose sum of task vectors is infinite or NaN"""

_FIGURES = (".png", ".svg", ".pdf")


def _figure(value: str) -> Path:
    figure = path(value)
    if figure.suffix.lower() not in _FIGURES:
        raise ValueError(f"{value}: give a name that ends in {', '.join(_FIGURES)}")
    return figure


def _check_writable(figure: Path) -> None:
    """Find out before the checkpoints are read what would lose the figure."""
    folder = figure.absolute().parent
    if not folder.is_dir():
        raise OutputError("the folder does not exist", path=folder, remedy="Make it first")
    if figure.is_dir():
        raise OutputError("is a folder, and a figure is one file", path=figure, remedy="Give a file's name")
    if not os.access(figure if figure.exists() else folder, os.W_OK):
        raise OutputError(
            "may not be written to", path=figure, remedy="Check permissions, or write elsewhere"
        )


def inspect(
    base: Base,
    finetuned: Finetuned,
    by: Annotated[
        str,
        typer.Option(
            metavar="layer|tensor",
            parser=one_of(By),
            autocompletion=lambda: [by.value for by in By],
            help="One row per layer or per tensor.",
            rich_help_panel=OUTPUT,
        ),
    ] = "layer",
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            parser=one_of(Sort),
            autocompletion=lambda: [key.value for key in Sort],
            help="Order of the rows: the model's own (model), or the largest first by elements, kept, "
            "agreement, norm, max or non-finite.",
            rich_help_panel=OUTPUT,
        ),
    ] = "model",
    top: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            parser=positive,
            show_default=False,
            help="Show only the first rows.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=_figure,
            show_default=False,
            help="Also draw a figure (.png, .svg or .pdf): kept fraction by layer, sign agreement.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    method: Method = "negmerge",
    include: Include = None,
    exclude: Exclude = None,
    max_memory: MaxMemory = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Show how far the fine-tuned checkpoints agree, and what a merge would keep.

    One row per layer or tensor. Reads every checkpoint once and writes nothing (the figure apart).
    """
    if plot is not None:
        import matplotlib  # noqa: F401  (its absence must show before the checkpoints are read)

        _check_writable(plot)

    import negmerge_ext

    report = negmerge_ext.inspect(
        base,
        finetuned,
        method=method,
        include=include,
        exclude=exclude,
        max_memory=max_memory,
        threads=threads,
        device=device,
        progress=not quiet,
    )
    if as_json:
        show_exactly(report.to_json())
    elif not quiet:
        print_table(report, By(by), Sort(sort), top)
    if plot is not None:
        from .inspect_plot import draw

        try:
            draw(report, plot)
        except OSError as problem:
            raise OutputError(f"the figure cannot be written: {problem.strerror}", path=plot) from problem
    if plot is not None and not quiet:
        print(f"figure: {plot}", file=sys.stderr)


COMMAND = make_command(inspect, epilog=EXAMPLES)
