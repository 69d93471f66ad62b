"""Registering a function as a command."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand

from .failures import guarded


class _Command(TyperCommand):
    """Its line of usage names arguments as everything else does: BASE, not {BASE}."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [re.sub(r"^\{(.*)\}", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]


def add_command(
    app: typer.Typer, function: Callable[..., None], *, panel: str | None = None, epilog: str | None = None
) -> None:
    """Make ``function`` a command of ``app``: its docstring is the help, its exceptions become exit codes."""
    help_text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or "")
    app.command(cls=_Command, help=help_text, epilog=epilog, rich_help_panel=panel)(guarded(function))
