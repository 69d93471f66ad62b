"""Commands, and groups of commands that are imported when they are run."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from .failures import guarded
from .help import command_page, group_page
from .values import convert_values


class Command(TyperCommand):
    """A command with our page of help, whose values are converted by the parsers of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        convert_values(self, ctx)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The line of usage names arguments as everything else does: BASE, not {BASE}."""
        return [re.sub(r"^\{(.*)\}", r"\1", piece) for piece in super().collect_usage_pieces(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(command_page(self, ctx))


class CommandModules(Mapping[str, Any]):
    """Commands by name: ``COMMAND`` of the module of that name in ``package``, imported when it is taken."""

    def __init__(self, package: str, names: list[str]) -> None:
        self._package = package
        self._names = names

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return import_module(f".{name.replace('-', '_')}", self._package).COMMAND

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Group(TyperGroup):
    """A group of commands.

    panels: what its page of help lists without importing a command: a line on each, by panel and name.
    package: where its :class:`CommandModules` are.
    """

    panels: ClassVar[Mapping[str, Mapping[str, str]]]
    package: ClassVar[str]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        names = [name for commands in self.panels.values() for name in commands]
        self.commands = CommandModules(self.package, names)  # type: ignore[assignment]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        convert_values(self, ctx)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        formatter.write(group_page(self, ctx, self.panels))


def make_command(function: Callable[..., None], *, epilog: str | None = None) -> Any:
    """``function`` as a command: its docstring is the help, its exceptions become exit codes."""
    help_text = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.getdoc(function) or "")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=Command, help=help_text, epilog=epilog)(guarded(function))
    return typer.main.get_command(app)


def make_group(
    cls: type[Group],
    *,
    callback: Callable[..., None] | None = None,
    add_completion: bool = False,
    **options: Any,
) -> Any:
    """A group of class ``cls``; the parameters of ``callback`` are its options."""
    app = typer.Typer(
        cls=cls, add_completion=add_completion, rich_markup_mode=None, no_args_is_help=True, **options
    )
    app.callback()(callback or (lambda: None))
    return typer.main.get_command(app)
