"""The table that compares methods where they retain alike, over one run or several."""

from __future__ import annotations

from collections.abc import Sequence

from ..metrics.matched_retain import LEVELS
from ..results import Results
from .cells import ABSENT, spread_cell
from .grid import Grid
from .runs import matched_over_runs

_LEVELS = tuple(f"{100 * level:g} %" for level in LEVELS)


def matched_table(runs: Sequence[Results]) -> Grid:
    """Forget accuracy in per cent at every level, a row per method; runs: at least one."""
    methods = matched_over_runs(runs)
    several, gaps = len(runs) > 1, any(row.gap is not None for row in methods)
    unreached = f"{ABSENT}: not reached{' in every run' if several else ''}."
    lines = [
        "Lowest forget accuracy on validation at a retain accuracy of so much of the base's.",
        f"Area: its mean from {100 * min(LEVELS):g} to 100 %. {unreached}",
        *(["Avg. gap: of the chosen model to Retrain on test, in points."] if gaps else []),
        "Seconds: without the base's training.",
    ]
    if several:
        lines.append(f"Mean ± standard deviation over {len(runs)} runs.")
    rows = tuple(
        (
            row.title,
            *(spread_cell(share, 100, 1) for share in (*row.at, row.area)),
            *([spread_cell(row.gap, 100, 2)] if gaps else []),
            spread_cell(row.seconds, 1, 1),
        )
        for row in methods
    )
    headings = (*_LEVELS, "Area", *(["Avg.\ngap"] if gaps else []), "Seconds")
    return Grid("Forget accuracy in % at equal retain accuracy", headings, rows, tuple(lines))
