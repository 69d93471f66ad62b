"""Printing what a command found: the one way to stdout."""

from __future__ import annotations

import errno
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from negmerge_ext.errors import OutputError

from . import text

if TYPE_CHECKING:
    from rich.console import Console


def show(found: str, *, written: Path | None = None) -> None:
    """Print for people. written: what the command has written by now, complete."""
    show_exactly(text.printable(found), written=written)


def show_exactly(found: str, *, written: Path | None = None) -> None:
    """Print what programs read, or what is :func:`~negmerge.cli.text.printable` already."""
    try:
        if sys.stdout is None:  # so Python says that it was started with stdout closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        print(found, flush=True)
    except BrokenPipeError:
        raise
    except OSError as problem:
        drop_stdout()
        complete = "" if written is None else f"; {written} is complete"
        raise OutputError(f"the report could not be printed: {problem.strerror}{complete}") from problem


def collecting(*, markup: bool = False) -> tuple[Console, io.StringIO]:
    """A console with the looks of stdout, and what is printed on it: for :func:`show_exactly`."""
    from rich.console import Console

    collected = io.StringIO()
    terminal = True if sys.stdout is not None and sys.stdout.isatty() else None
    console = Console(file=collected, force_terminal=terminal, markup=markup, emoji=False, highlight=False)
    return console, collected


def drop_stdout() -> None:
    """Nothing more can be printed: keep the interpreter from failing on it once again at exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
