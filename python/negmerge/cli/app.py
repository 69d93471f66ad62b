"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from . import demo, info, inspect, merge, patch, unlearn
from .commands import add_command
from .failures import EXIT_CODES, show_tracebacks

app = typer.Typer(
    name="negmerge",
    help="Merge fine-tuned checkpoints by sign consensus, and make models forget with it.",
    epilog=EXIT_CODES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        import negmerge_ext

        print(f"negmerge {negmerge_ext.__version__}")
        raise typer.Exit


@app.callback()
def negmerge(
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


_MERGING, _UNLEARNING = "Merging", "Unlearning"
add_command(app, merge.merge, panel=_MERGING, epilog=merge.EXAMPLES)
add_command(app, inspect.inspect, panel=_MERGING, epilog=inspect.EXAMPLES)
app.add_typer(patch.app, name="patch", rich_help_panel=_MERGING)
add_command(app, info.info, panel=_MERGING)
add_command(app, demo.demo, panel=_UNLEARNING, epilog=demo.EXAMPLES)
add_command(app, unlearn.unlearn, panel=_UNLEARNING, epilog=unlearn.EXAMPLES)
