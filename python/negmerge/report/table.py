"""The tables of a run: what was chosen, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from ..results import Results, Row
from .cells import ABSENT, mebibytes, percent
from .grid import Grid

_ACCURACY = ("λ", "Forget\nval.", "Retain\nval.", "Forget\ntest", "Retain\ntest", "Kept\n%")
_COST = ("Tries", "Train\ns", "Search\ns")


def table(results: Results) -> Grid:
    """A row per method, accuracies in per cent, and what they cost."""
    rows = tuple((row.title, *_accuracy(row), *_cost(row)) for row in results.rows)
    notes = (*_accuracy_notes(results), *_cost_notes(results), *_spreads(results))
    return Grid(f"Forgetting {results.forgotten}: accuracy in %", (*_ACCURACY, *_COST), rows, notes)


def accuracy_table(results: Results) -> Grid:
    """A row per method, accuracies in per cent, without the costs."""
    rows = tuple((row.title, *_accuracy(row)) for row in results.rows)
    notes = (*_accuracy_notes(results), _images_note(results), *_spreads(results))
    return Grid("Accuracy of the chosen models, in %", _ACCURACY, rows, notes)


def cost_table(results: Results) -> Grid:
    """A row per method: passes over the validation split, seconds, memory."""
    rows = tuple((row.title, *_cost(row), mebibytes(row.peak_memory)) for row in results.rows)
    notes = (*_cost_notes(results), _MEMORY_NOTE)
    return Grid("Cost of every method", (*_COST, "Peak\nMiB"), rows, notes)


_MEMORY_NOTE = (
    "Peak: the most main memory that the process held during search and final evaluation, in MiB, libraries "
    f"and data included; {ABSENT} where it was not measured."
)


def _accuracy(row: Row) -> list[str]:
    coefficient = ABSENT if row.coefficient is None else f"{row.coefficient:.4g}"
    scores = (row.validation.forget, row.validation.retain, row.test.forget, row.test.retain)
    return [
        coefficient + ("+" if row.at_limit else ""),
        *map(percent, scores),
        percent(row.kept_fraction),
    ]


def _cost(row: Row) -> list[str]:
    return [str(row.evaluations), f"{row.training_seconds:.1f}", f"{row.seconds:.1f}"]


def _accuracy_notes(results: Results) -> list[str]:
    lines = []
    if any(row.coefficient for row in results.rows):
        lines.append(f"λ: coefficient of the negated vector with the {_objective(results)}.")
    if any(row.at_limit for row in results.rows):
        lines.append("+: the search ended at the recipe's limit.")
    elements = next((row.elements for row in results.rows if row.kept is not None), None)
    if elements:
        lines.append(f"Kept: elements in the merged vector, of the model's {elements:,}.")
    return lines


def _cost_notes(results: Results) -> list[str]:
    seconds = sum(member.seconds for member in results.pool)
    return [
        f"Tries: passes over the validation split ({_images(results)}).",
        "Train: seconds of training, the base's apart. Search: merging, search and final evaluation.",
        f"The pool of {len(results.pool)} fine-tuned checkpoints took {seconds:.1f} s.",
    ]


def _images_note(results: Results) -> str:
    return f"Validation has {_images(results)}."


def _images(results: Results) -> str:
    validation, test = results.images["validation"], results.images["test"]
    return (
        f"{validation['forget']:,} forget and {validation['retain']:,} retain images; "
        f"test: {test['forget']:,} and {test['retain']:,}"
    )


def _spreads(results: Results) -> list[str]:
    return [_spread(row) for row in results.rows if len(row.candidates) > 1]


def _objective(results: Results) -> str:
    if results.retain_floor is None:
        return "smallest average gap to Retrain on validation"
    ratio = results.recipe["search"]["retain_ratio"]
    return (
        f"lowest forget accuracy on validation at a retain accuracy of "
        f"{percent(results.retain_floor)} % or more ({ratio:g} × the base's)"
    )


def comparison(results: Results) -> str:
    """In words, which method did best on the test split, by what was searched for, and how NegMerge did."""
    searched = [row for row in results.rows[1:] if row.coefficient is not None]
    if len(searched) < 2:
        return ""
    reference = next((row for row in searched if row.method == "negmerge"), searched[-1])
    forget, retain = (_step(results.images["test"][part]) for part in ("forget", "retain"))
    return (
        f"On test, {_best_and(reference, searched, results)}. One image is {forget} points of forget, "
        f"{retain} of retain accuracy."
    )


def _best_and(reference: Row, searched: Sequence[Row], results: Results) -> str:
    """The best of the methods and, if that is not the reference, this one too; else the next."""
    gaps = {row.title: gap for row in searched if (gap := results.average_gap(row)) is not None}
    if results.recipe["search"]["objective"] == "gap" and len(gaps) == len(searched):
        best, *others = sorted(searched, key=lambda row: gaps[row.title])
        other = reference if best is not reference else others[0]
        closest, next_to_it = (percent(gaps[row.title], 2) for row in (best, other))
        return (
            f"{best.title} comes closest to Retrain, with an average gap of {closest} points; "
            f"that of {other.title} is {next_to_it}"
        )
    best, *others = sorted(searched, key=lambda row: (row.test.forget, -row.test.retain))
    other = reference if best is not reference else others[0]
    return (
        f"{best.title} forgets most: it is right on {percent(best.test.forget)} % of the forget set, and on "
        f"{percent(best.test.retain)} % of what is retained. {_compared(other, best)}"
    )


def _step(images: int) -> str:
    """Points of accuracy that one of so many images is, to at least one digit that is not zero."""
    points = 100 / max(images, 1)
    return f"{points:.1f}" if points >= 0.1 else f"{points:.1g}"


def _compared(row: Row, best: Row) -> str:
    forget, other = (round(100 * one.test.forget, 1) for one in (row, best))
    kept = round(100 * row.test.retain, 1) - round(100 * best.test.retain, 1)
    forgets = "as much" if forget == other else f"{_points(other - forget)} ({forget:.1f} %)"
    keeps = "as much" if abs(kept) < 0.05 else f"{_points(kept)} ({percent(row.test.retain)} %)"
    return f"{row.title} forgets {forgets} and retains {keeps}"


def _points(difference: float) -> str:
    return f"{abs(difference):.1f} points {'more' if difference > 0 else 'less'}"


def _spread(row: Row) -> str:
    """How the candidates among which a method chose differ."""
    forget = [100 * point.forget for point in row.candidates]
    return (
        f"{row.title}: {row.candidate}. Searched alike, the {len(forget)} candidates reach forget accuracies "
        f"of {min(forget):.1f} to {max(forget):.1f} % on validation."
    )
