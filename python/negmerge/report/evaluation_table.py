"""The table of checkpoints that were evaluated by themselves."""

from __future__ import annotations

from pathlib import Path

from ..evaluating import EvaluatedFile, EvaluatedFiles
from .cells import percent
from .grid import Grid

_ACCURACY = ("Forget\ntest", "Retain\ntest", "Forget\nval.", "Retain\nval.")
_MEASURES = ("MIA\neff.", "Avg.\ngap")


def evaluation_table(found: EvaluatedFiles) -> Grid:
    """A row per checkpoint, accuracies in per cent; the last one is Retrain, if there is that."""
    measured = found.retrained is not None
    rows = [(_name(one), *_cells(one, found, measured=measured)) for one in found.checkpoints]
    notes = []
    if found.retrained is not None:
        rows.append(("Retrain", *_cells(found.retrained, found, measured=True)))
        notes.append(
            "MIA eff.: share of the forget set that SalUn's attack takes for images never seen. Avg. gap: to "
            "Retrain on the test split, in points."
        )
    validation, test = found.images["validation"], found.images["test"]
    notes.append(
        f"Validation has {validation['forget']:,} forget and {validation['retain']:,} retain images, test "
        f"{test['forget']:,} and {test['retain']:,}."
    )
    headings = (*_ACCURACY, *(_MEASURES if measured else ()))
    return Grid(
        f"Forgetting {found.forgotten}: accuracy in %", headings, tuple(rows), tuple(notes), "Checkpoint"
    )


def _name(one: EvaluatedFile) -> str:
    return Path(one.file).name


def _cells(one: EvaluatedFile, found: EvaluatedFiles, *, measured: bool) -> list[str]:
    cells = [
        percent(score) for scores in (one.test, one.validation) for score in (scores.forget, scores.retain)
    ]
    if measured:
        measures = one.test_measures
        cells += [
            percent(None if measures is None else measures.mia_efficacy),
            percent(found.average_gap(one), 2),
        ]
    return cells
