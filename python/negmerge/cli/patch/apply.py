"""``negmerge patch apply``: from a base and a patch to a merged checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..commands import make_command
from ..options import (
    CHOICE,
    OUTPUT,
    AsJson,
    Base,
    MaxMemory,
    OutDtype,
    Overwrite,
    PatchFile,
    Quiet,
    Scale,
    Threads,
    output,
)
from ..show import show, show_exactly
from ..summary import merge_summary

EXAMPLE = """\
Example:
  negmerge patch apply base/ forget.patch -o merged/ --scale 0.8"""


def apply(
    base: Base,
    patch: PatchFile,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            parser=output,
            show_default=False,
            help="A .safetensors file, or a folder.",
            rich_help_panel=OUTPUT,
        ),
    ],
    scale: Scale = 1.0,
    mode: Annotated[
        str,
        typer.Option(
            metavar="negate|add",
            parser=str,
            autocompletion=lambda: ["negate", "add"],
            help="Move BASE against the vector, or along it.",
            rich_help_panel=CHOICE,
        ),
    ] = "negate",
    out_dtype: OutDtype = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    max_memory: MaxMemory = None,
    threads: Threads = None,
) -> None:
    """Apply a patch to the base checkpoint that it was made from.

    The tensors are the same, bit for bit, as those of negmerge merge with the same options.
    """
    from negmerge_ext import Patch

    report = Patch.load(patch).apply_to_file(
        base,
        out,
        scale=scale,
        mode=mode,
        out_dtype=out_dtype,
        max_memory=max_memory,
        threads=threads,
        progress=not quiet,
        overwrite=overwrite,
    )
    if as_json:
        show_exactly(report.to_json(), written=out)
    elif not quiet:
        show(merge_summary(report), written=out)


COMMAND = make_command(apply, epilog=EXAMPLE)
