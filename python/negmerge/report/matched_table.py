"""The table that compares methods where they retain alike, over one run or several."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..metrics.matched_retain import LEVELS, Spread
from ..results import Results
from .cells import ABSENT, empty_table
from .runs import matched_over_runs

_HEADINGS = (*(f"{100 * level:g} %" for level in LEVELS), "Area", "Avg.\ngap", "Seconds")


def matched_table(runs: Sequence[Results]) -> Table:
    """Forget accuracy in per cent at every level, a row per method; runs: at least one."""
    several = len(runs) > 1
    unreached = f"{ABSENT}: not reached{' in every run' if several else ''}."
    lines = [
        "Lowest forget accuracy on validation at a retain accuracy of so much of the base's.",
        f"Area: its mean from {100 * min(LEVELS):g} to 100 %. {unreached}",
        "Avg. gap: of the chosen model to Retrain on test, in points. Seconds: without the base's training.",
    ]
    if several:
        lines.append(f"Mean ± standard deviation over {len(runs)} runs.")
    caption = "\n".join(lines)
    shown = empty_table("Forget accuracy in % at equal retain accuracy", caption, _HEADINGS)
    for row in matched_over_runs(runs):
        shares = [_cell(share, 100, 1) for share in (*row.at, row.area)]
        shown.add_row(row.title, *shares, _cell(row.gap, 100, 2), _cell(row.seconds, 1, 1))
    return shown


def _cell(spread: Spread | None, scale: float, digits: int) -> str:
    if spread is None:
        return ABSENT
    mean = f"{scale * spread.mean:.{digits}f}"
    return mean if spread.std is None else f"{mean} ± {scale * spread.std:.{digits}f}"
