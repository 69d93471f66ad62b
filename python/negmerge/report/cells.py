"""How numbers look in tables, and how a table of a run looks."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

ABSENT = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in per cent without the sign."""
    return ABSENT if share is None else f"{100 * share:.{digits}f}"


def empty_table(title: str, caption: str, headings: tuple[str, ...]) -> Table:
    """A table with a column of names and one of numbers per heading, each as narrow as it can be."""
    shown = Table(
        title=escape(title),
        caption=escape(caption),
        box=box.SIMPLE_HEAVY,
        title_style="bold",
        caption_style="dim",
        caption_justify="left",
        padding=(0, 0, 0, 1),
        show_edge=False,
        pad_edge=False,
    )
    shown.add_column("Method", no_wrap=True)
    for heading in headings:
        shown.add_column(heading, justify="right", no_wrap=True)
    return shown
