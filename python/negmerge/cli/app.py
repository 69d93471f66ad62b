"""The commands, put together."""

from __future__ import annotations

from typing import Annotated, ClassVar

import typer

from .commands import Group, make_group
from .failures import EXIT_CODES, show_tracebacks


class _Negmerge(Group):
    package = __package__
    panels: ClassVar = {
        "Merging": {
            "merge": "Merge the task vectors of FT... and move BASE along the result.",
            "inspect": "Show how far the fine-tuned checkpoints agree, and what a merge would keep.",
            "patch": "Keep the merged vector as a patch: a sparse file that any scale is applied from.",
            "info": "Show instruction sets, threads, CUDA devices and versions.",
        },
        "Unlearning": {
            "demo": "Make a classifier of handwritten digits forget one digit, in a minute or two.",
            "unlearn": "Make a model forget: pool, merge, coefficient, evaluation and report, from a recipe.",
            "recipes": "List the recipes that come with the package, or print one.",
            "finetune": "Train the base of a recipe and fine-tune its pool on the forget set.",
            "evaluate": "Evaluate checkpoints on the validation and test splits of a recipe.",
            "report": "Write the report of a finished run, or of several, as a page, Markdown and JSON.",
            "compare": "Compare methods where they retain alike, over the runs of several seeds.",
            "zero-shot": "Show what a model of images and text makes of data sets by prompts alone.",
            "data": "Get the data sets that recipes name, list them, and pack them.",
        },
    }


def _print_version(asked: bool) -> None:
    if asked:
        import negmerge_ext

        print(f"negmerge {negmerge_ext.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", metavar="", help="Print the traceback of an error. Stands before the command."
        ),
    ] = False,
) -> None:
    """Options that hold for every command."""
    if debug:
        show_tracebacks()


app = make_group(
    _Negmerge,
    callback=_options,
    name="negmerge",
    help="Merge fine-tuned checkpoints by sign consensus, and make models forget with it.",
    epilog=EXIT_CODES,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
