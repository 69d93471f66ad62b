"""Accuracies on each retained data set, where a run retains several."""

from __future__ import annotations

from rich.table import Table

from ..results import Results
from .cells import empty_table, percent


def retained_table(results: Results) -> Table | None:
    """A row per method, test accuracies in per cent; ``None`` where there is but one retained set."""
    labels = tuple(results.rows[0].test.by_set)
    if not labels:
        return None
    shown = empty_table(
        f"Forgetting {results.forgotten}: test accuracy on each retained data set in %",
        "Mean: what other tables call retain.",
        (*labels, "Mean"),
    )
    for row in results.rows:
        accuracies = (*(row.test.by_set[label] for label in labels), row.test.retain)
        shown.add_row(row.title, *map(percent, accuracies))
    return shown
