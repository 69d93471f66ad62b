"""The table that compares every model of a run with Retrain."""

from __future__ import annotations

from ..metrics.mia_logistic import LOW_FPR
from ..results import Results, Row
from .cells import ABSENT, percent
from .grid import Grid

_HEADINGS = ("Forget", "Retain", "Test", "MIA\neff.", "Avg.\ngap", "AUC", f"TPR at\n{100 * LOW_FPR:g}% FPR")

#: Of these one is at most the share that the heading has; with fewer there is nothing to find it at.
_FEWEST = round(1 / LOW_FPR)

_NOTES = (
    "Forget, Retain: training images to be forgotten, to be retained. Test: test images of retained classes.",
    "MIA eff.: share of the forget set that SalUn's attack takes for images never seen; Retrain's value is "
    "the aim.",
    "Avg. gap: mean absolute difference to Retrain in these four, in points.",
    "AUC, TPR: logistic regression that tells the forget set from unseen images; 0.5 and 1 % when it cannot.",
)


def reference_table(results: Results) -> Grid | None:
    """Measures on the test split and their average gap, in per cent; ``None`` for a run without Retrain."""
    compared = [row for row in results.rows if results.average_gap(row) is not None]
    if not compared:
        return None
    unseen = _unseen(results)
    few = unseen < _FEWEST
    rows = tuple((row.title, *_cells(row, results.average_gap(row), few=few)) for row in compared)
    why = f"{ABSENT} for TPR: {100 * LOW_FPR:g} % of the {unseen} unseen images is not one of them."
    return Grid("Compared with Retrain, in %", _HEADINGS, rows, (*_NOTES, why) if few else _NOTES)


def _unseen(results: Results) -> int:
    """Images of the classes of the forget set that no model was trained on, on the test split."""
    return results.images["test"]["retain" if results.forgets_training_images else "forget"]


def _cells(row: Row, gap: float | None, *, few: bool) -> list[str]:
    measures = row.test_measures
    assert measures is not None, "it has a gap"
    shares = (measures.forget, measures.retain, measures.held_out, measures.mia_efficacy)
    attack = measures.attack
    return [
        *map(percent, shares),
        percent(gap, 2),
        ABSENT if attack is None else f"{attack.auc:.3f}",
        ABSENT if attack is None or few else percent(attack.tpr),
    ]
