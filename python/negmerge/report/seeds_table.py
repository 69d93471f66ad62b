"""The tables of several runs of one recipe: their chosen models on the test split, and the runs."""

from __future__ import annotations

from collections.abc import Sequence

from ..results import Results
from .cells import percent, spread_cell
from .grid import Grid
from .runs import MethodOverRuns
from .table import forget_heading


def held_out_table(methods: Sequence[MethodOverRuns], runs: Sequence[Results]) -> Grid:
    """A row per method: what its chosen models score on the test split."""
    gaps = any(method.gap is not None for method in methods)
    rows = tuple(
        (
            method.title,
            spread_cell(method.test_forget, 100, 1),
            spread_cell(method.test_retain, 100, 1),
            *([spread_cell(method.gap, 100, 2)] if gaps else []),
        )
        for method in methods
    )
    notes = [f"Mean ± sample standard deviation over {len(runs)} runs."]
    if gaps:
        notes.append("Avg. gap: mean absolute difference to Retrain, in points.")
    headings = (forget_heading(runs[0]), "Retain\ntest", *(["Avg.\ngap"] if gaps else []))
    return Grid("Chosen models on the test split, in %", headings, rows, tuple(notes))


def runs_table(runs: Sequence[Results]) -> Grid:
    """A row per run: its seed, and its base on the test split."""
    rows = tuple(
        (
            str(results.recipe["name"]),
            str(results.recipe["seed"]),
            percent(results.rows[0].test.forget),
            percent(results.rows[0].test.retain),
            f"{sum(member.seconds for member in results.pool):.1f}",
        )
        for results in runs
    )
    return Grid(
        "The runs",
        ("Seed", f"Base: {forget_heading(runs[0]).lower()}", "Base: retain\ntest", "Pool\ns"),
        rows,
        ("Their recipes differ in name and seed only.",),
        "Run",
    )
