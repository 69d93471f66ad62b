"""Registering a function as a command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import typer

from .failures import guarded


def add_command(
    app: typer.Typer, function: Callable[..., None], *, panel: str | None = None, epilog: str | None = None
) -> None:
    """Make ``function`` a command of ``app``: its docstring is the help, its exceptions become exit codes."""
    help_text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or "")
    app.command(help=help_text, epilog=epilog, rich_help_panel=panel)(guarded(function))
