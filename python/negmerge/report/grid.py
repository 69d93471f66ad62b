"""A table as text in cells, which the terminal, the page and Markdown show in their own ways."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    headings: of the columns behind the first; a line break is where a narrow heading may be broken. rows: the
    name in the first column, and a cell per heading. notes: how to read it, a sentence or two each.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    first: str = "Method"
