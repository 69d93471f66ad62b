"""Tables for the terminal."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from .grid import Grid


def rich_table(grid: Grid) -> Table:
    """``grid`` with every column as narrow as it can be; its notes are the caption."""
    shown = Table(
        title=escape(grid.title),
        caption=escape("\n".join(grid.notes)),
        box=box.SIMPLE_HEAVY,
        title_style="bold",
        caption_style="dim",
        caption_justify="left",
        padding=(0, 0, 0, 1),
        show_edge=False,
        pad_edge=False,
    )
    shown.add_column(grid.first, no_wrap=True)
    for heading in grid.headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in grid.rows:
        shown.add_row(*map(escape, row))
    return shown
