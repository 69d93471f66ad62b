"""Accuracies on each retained data set, where a run retains several."""

from __future__ import annotations

from ..results import Results
from .cells import percent
from .grid import Grid


def retained_table(results: Results) -> Grid | None:
    """A row per method, test accuracies in per cent; ``None`` where there is but one retained set."""
    labels = tuple(results.rows[0].test.by_set)
    if not labels:
        return None
    rows = tuple(
        (row.title, *(percent(row.test.by_set[label]) for label in labels), percent(row.test.retain))
        for row in results.rows
    )
    return Grid(
        f"Forgetting {results.forgotten}: test accuracy on each retained data set in %",
        (*labels, "Mean"),
        rows,
        ("Mean: what other tables call retain.",),
    )
