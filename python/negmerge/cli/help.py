"""Pages of help: usage, what it is about, parameters or commands by panel, examples.

Typer has rich draw them: 0.26 s for ``negmerge merge --help``, where these take 0.08 s.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

import typer

_NARROWEST, _WIDEST = 20, 100
#: A longer name has its text below it.
_LONGEST_NAME = 29
#: A space that no line is broken at.
_FIXED = "\xa0"

Rows = list[tuple[str, str]]


def command_page(command: Any, ctx: Any) -> str:
    """The page of a command."""
    return _page(command, ctx, [_parameters(command.get_params(ctx))])


def group_page(group: Any, ctx: Any, panels: Mapping[str, Mapping[str, str]]) -> str:
    """The page of a group whose commands are in ``panels``, a line on each."""
    commands = {panel: list(lines.items()) for panel, lines in panels.items()}
    return _page(group, ctx, [commands, _parameters(group.get_params(ctx))])


def _page(command: Any, ctx: Any, tables: Sequence[Mapping[str, Rows]]) -> str:
    """Each of ``tables`` has panels whose texts begin in one column."""
    width = max(_NARROWEST, min(shutil.get_terminal_size().columns, _WIDEST))
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    about = [textwrap.fill(paragraph, width - 1) for paragraph in (command.help or "").split("\n\n")]
    parts = [f"{_heading('Usage:')} {usage}", *about]
    for panels in tables:
        names = [name for rows in panels.values() for name, _ in rows]
        column = 4 + max((len(name) for name in names if len(name) <= _LONGEST_NAME), default=0)
        parts += [_panel(title, rows, column, width) for title, rows in panels.items()]
    if command.epilog:
        parts.append(_with_headings(command.epilog))
    return "\n\n".join(parts).replace(_FIXED, " ") + "\n"


def _parameters(params: Iterable[Any]) -> dict[str, Rows]:
    """Rows of parameters by panel: arguments first, options without a panel last."""
    panels: dict[str, Rows] = {"Arguments": []}
    others: Rows = []
    for param in params:
        text = " ".join(filter(None, [param.help, _note(param)]))
        if param.param_type_name == "argument":
            panels["Arguments"].append((param.metavar + ("..." if param.nargs == -1 else ""), text))
        elif not param.hidden:
            title = getattr(param, "rich_help_panel", None)
            (panels.setdefault(title, []) if title else others).append((_option(param), text))
    return {title: rows for title, rows in (panels | {"Options": others}).items() if rows}


def _option(param: Any) -> str:
    """The names of an option and of its value; the long names of all options begin in one column."""
    short, long = (
        [name for name in param.opts if name.startswith("--") is double] for double in (False, True)
    )
    names = (f"{short[0]}, " if short else " " * 4) + long[0]
    return f"{names} {param.metavar}" if param.metavar else names


def _note(param: Any) -> str:
    if param.required:
        return "[required]" if param.param_type_name == "option" else ""
    if not param.show_default or param.default is None or isinstance(param.default, bool):
        return ""
    default = param.default.value if isinstance(param.default, Enum) else param.default
    return f"[default:{_FIXED}{default}]"


def _panel(title: str, rows: Rows, column: int, width: int) -> str:
    lines = [_heading(f"{title}:")]
    for name, text in rows:
        first, *rest = textwrap.wrap(text, max(width - column - 1, 20))
        start = "  " + _styled(name, fg="cyan")
        if len(name) <= _LONGEST_NAME:
            lines.append(start + " " * (column - 2 - len(name)) + first)
        else:
            lines += [start, " " * column + first]
        lines += [" " * column + line for line in rest]
    return "\n".join(lines)


def _with_headings(text: str) -> str:
    """``text`` as it is, with its headings (lines that begin at the margin and end with a colon) shown so."""
    lines = text.split("\n")
    return "\n".join(_heading(line) if line[:1].strip() and line.endswith(":") else line for line in lines)


def _heading(text: str) -> str:
    return _styled(text, bold=True)


def _styled(text: str, **style: Any) -> str:
    """``text`` in a style, which Typer takes out again where nobody sees it: in a pipe or a file."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, **style)
