"""``negmerge patch``: the merged vector as a file of its own, applied without the checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .commands import add_command
from .options import (
    CHOICE,
    OUTPUT,
    AsJson,
    Base,
    Exclude,
    Finetuned,
    Include,
    MaxMemory,
    Method,
    OutDtype,
    Overwrite,
    Quiet,
    Scale,
    Threads,
    output,
    path,
)
from .show import show, show_exactly
from .summary import merge_summary, patch_summary

_MAKE = "negmerge patch make base/ ft1/ ft2/ -o forget.patch"
_INFO = "negmerge patch info forget.patch"
_APPLY = "negmerge patch apply base/ forget.patch -o merged/ --scale 0.8"
EXAMPLES = "\n  ".join(["[bold]Examples[/bold]", _MAKE, _INFO, _APPLY])

PatchFile = Annotated[
    Path,
    typer.Argument(
        metavar="PATCH", parser=path, show_default=False, help="A patch that negmerge patch make wrote."
    ),
]


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
        progress=not quiet,
        overwrite=overwrite,
    )
    description = patch.describe()
    if as_json:
        show_exactly(json.dumps(description, indent=2), written=out)
    elif not quiet:
        show(f"written {out}\n{patch_summary(description)}", written=out)


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
            metavar="negate|add", help="Move BASE against the vector, or along it.", rich_help_panel=CHOICE
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


def info(patch: PatchFile, as_json: AsJson = False) -> None:
    """Show what a patch holds: its origin, what it keeps, its size against the model's."""
    from negmerge_ext import Patch

    description = Patch.load(patch).describe()
    if as_json:
        show_exactly(json.dumps(description, indent=2))
    else:
        show(patch_summary(description))


app = typer.Typer(
    help="Keep the merged vector as a patch: a sparse file that any scale is applied from.",
    epilog=EXAMPLES,
    no_args_is_help=True,
)
for _command, _example in ((make, _MAKE), (apply, _APPLY), (info, _INFO)):
    add_command(app, _command, epilog=f"[bold]Example[/bold]\n  {_example}")
