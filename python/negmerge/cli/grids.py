"""Printing tables of results."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .show import collecting, show_exactly

if TYPE_CHECKING:
    from ..report.grid import Grid

#: Columns where there is no terminal to fit.
_WIDTH = 110


def show_grids(grids: Iterable[Grid | None], said: str = "", *, written: Path | None = None) -> None:
    """Print the tables that there are, and a sentence below them. written: as for :func:`show`."""
    from ..report.terminal import rich_table

    console, collected = collecting(markup=True)
    if not console.is_terminal:
        console.width = _WIDTH
    for grid in grids:
        if grid is not None:
            console.print(rich_table(grid), "")
    if said:
        console.print(said, markup=False)
    show_exactly(collected.getvalue().rstrip("\n"), written=written)
