"""``negmerge patch make``: from checkpoints to a patch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ..commands import make_command
from ..options import (
    OUTPUT,
    AsJson,
    Base,
    Device,
    Exclude,
    Finetuned,
    Include,
    MaxMemory,
    Method,
    Overwrite,
    Quiet,
    Threads,
    output,
)
from ..show import show, show_exactly
from ..summary import patch_summary

EXAMPLE = """\
Example:
  negmerge patch make base/ ft1/ ft2/ -o forget.patch"""


def make(
    base: Base,
    finetuned: Finetuned,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATCH",
            parser=output,
            show_default=False,
            help="Patch file to write.",
            rich_help_panel=OUTPUT,
        ),
    ],
    method: Method = "negmerge",
    include: Include = None,
    exclude: Exclude = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    max_memory: MaxMemory = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Merge the task vectors of FT... and store the result sparsely.

    A patch holds one bit per element and the values of those kept, exactly as the merge computes them.
    """
    from negmerge_ext import Patch

    patch = Patch.make(
        base,
        finetuned,
        method=method,
        include=include,
        exclude=exclude,
        out=out,
        max_memory=max_memory,
        threads=threads,
        device=device,
        progress=not quiet,
        overwrite=overwrite,
    )
    description = patch.describe()
    if as_json:
        show_exactly(json.dumps(description, indent=2), written=out)
    elif not quiet:
        show(f"written {out}\n{patch_summary(description)}", written=out)


COMMAND = make_command(make, epilog=EXAMPLE)
