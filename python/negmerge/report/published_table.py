"""The table that stands beside what the paper reports of the same setting."""

from __future__ import annotations

from itertools import chain

from ..published_unlearning import PublishedRow, published_of
from ..results import Results, Row
from .cells import ABSENT, percent
from .grid import Grid

_HEADINGS = tuple(
    f"{name}\n{whose}"
    for name in ("Forget", "Retain", "Test", "MIA eff.", "Avg. gap")
    for whose in ("here", "paper")
)


def published_table(results: Results) -> Grid | None:
    """A row per method with Retrain's measures, in per cent, each beside the paper's.

    ``None`` for a run without Retrain, or in a setting that the paper does not have.
    """
    paper = published_of(results.recipe)
    compared = [row for row in results.rows[1:] if results.average_gap(row) is not None]
    if paper is None or not compared:
        return None
    rows = tuple((row.title, *_cells(row, results, paper.rows.get(row.method))) for row in compared)
    notes = (
        f"Paper: NegMerge (ICML 2025), {paper.title}, means of three runs; {ABSENT}: not known. Here: one.",
        "Forget, Retain: training images to be forgotten, to be retained. Avg. gap: to Retrain, in points.",
    )
    return Grid(f"Beside the paper's {paper.title}, in %", _HEADINGS, rows, notes)


def _cells(row: Row, results: Results, paper: PublishedRow | None) -> list[str]:
    measures = row.test_measures
    assert measures is not None, "it has a gap"
    ours = (measures.forget, measures.retain, measures.held_out, measures.mia_efficacy)
    theirs = (
        (None,) * 5
        if paper is None
        else (paper.forget, paper.retain, paper.held_out, paper.mia_efficacy, paper.gap)
    )
    pairs = zip((*ours, results.average_gap(row)), theirs, strict=True)
    return [percent(share, 2) for share in chain.from_iterable(pairs)]
