"""``negmerge merge``: merge checkpoint files into a new one, in bounded memory."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from . import text
from .commands import make_command
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
    Mode,
    OutDtype,
    Overwrite,
    Quiet,
    Scale,
    Threads,
    output,
)
from .show import show, show_exactly
from .summary import merge_summary

EXAMPLES = """\
Examples:
  negmerge merge base.safetensors pool/*.safetensors -o out.safetensors
  negmerge merge base/ ft1/ ft2/ -o merged/ --scale 0.8 --max-memory 1GiB
  negmerge merge base.pt a.pt b.pt -o sum.safetensors --mode add
  negmerge merge base/ ft1/ ft2/ -o merged/ --exclude 'lm_head.*' --dry-run
  negmerge merge base/ ft1/ ft2/ -o merged/ --resume

The same inputs and options give the same bytes, whatever the memory bound
and the number of threads."""


def merge(
    base: Base,
    finetuned: Finetuned,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            parser=output,
            show_default=False,
            help="A .safetensors file, or a folder: then with BASE's sharding, config and tokenizer files.",
            rich_help_panel=OUTPUT,
        ),
    ],
    scale: Scale = 1.0,
    mode: Mode = "negate",
    method: Method = "negmerge",
    include: Include = None,
    exclude: Exclude = None,
    out_dtype: OutDtype = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", metavar="", help="Continue a merge that was interrupted.", rich_help_panel=OUTPUT
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            metavar="",
            help="Compute everything again and compare it with what was written, before OUT appears.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            metavar="",
            help="Check everything, print the plan, write nothing.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    max_memory: MaxMemory = None,
    threads: Threads = None,
    device: Device = None,
) -> None:
    """Merge the task vectors of FT... and move BASE along the result.

    Where all fine-tuned checkpoints moved an element in the same direction, their mean change is subtracted
    from (mode negate) or added to (mode add) BASE, times the scaling coefficient; all other elements stay
    BASE's. Files are read once and never loaded whole.
    """
    from negmerge_ext import api

    same: dict[str, Any] = {
        "method": method,
        "scale": scale,
        "mode": mode,
        "include": include,
        "exclude": exclude,
        "out_dtype": out_dtype,
        "max_memory": max_memory,
        "threads": threads,
        "device": device,
        "overwrite": overwrite,
        "verify": verify,
        "resume": resume,
    }
    if dry_run:
        from negmerge_ext.errors import raise_problems

        from .dry_run import describe

        plan = api.plan_merge(base, finetuned, out=out, **same)
        if as_json:
            show_exactly(json.dumps(plan.to_dict(), indent=2))
        else:
            show(describe(plan))
        raise_problems(plan.problems)
        return

    report = api.merge(base, finetuned, out=out, progress=not quiet, **same)
    if as_json:
        show_exactly(report.to_json(), written=out)
    elif not quiet:
        show(merge_summary(report), written=out)
    if report.non_finite and not as_json:
        print(
            f"negmerge: warning: {text.count(report.non_finite, 'element')} with an infinite or NaN sum of "
            "task vectors; negmerge inspect shows where",
            file=sys.stderr,
        )


COMMAND = make_command(merge, epilog=EXAMPLES)
