"""The tables of a run: what was chosen, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..methods import REFERENCE
from ..results import Results, Row
from .cells import ABSENT, listed, mebibytes, percent
from .grid import Grid

_COST = ("Tries", "Train\ns", "Search\ns")


def table(results: Results) -> Grid:
    """A row per method, accuracies in per cent, and what they cost."""
    rows = tuple((row.title, *_scores(row), *_chosen_by(row, results), *_cost(row)) for row in results.rows)
    notes = (*_accuracy_notes(results), *_cost_notes(results), *_spreads(results))
    headings = (*_score_headings(results), *_choice_headings(results), *_COST)
    return Grid(f"Forgetting {results.forgotten}: accuracy in %", headings, rows, notes)


def accuracy_table(results: Results) -> Grid:
    """A row per method, accuracies in per cent, and what is retained of the base's; without the costs."""
    rows = tuple(
        (row.title, *_scores(row), _of_base(row, results), *_chosen_by(row, results)) for row in results.rows
    )
    notes = (
        *_accuracy_notes(results),
        "Of base: retain accuracy on test as a share of the base's."
        + (" Only that on validation must keep the floor." if results.retain_floor is not None else ""),
        *_images_notes(results),
        *_spreads(results),
    )
    headings = (*_score_headings(results), "Of base\n%", *_choice_headings(results))
    return Grid("Accuracy of the chosen models, in %", headings, rows, notes)


def cost_table(results: Results) -> Grid:
    """A row per method: passes over the validation split, seconds, memory."""
    on_gpu = any(row.peak_device_memory is not None for row in results.rows)
    rows = tuple(
        (
            row.title,
            *_cost(row),
            mebibytes(row.peak_memory),
            *([mebibytes(row.peak_device_memory)] if on_gpu else []),
        )
        for row in results.rows
    )
    headings = (*_COST, "Peak\nMiB", *(["GPU\nMiB"] if on_gpu else []))
    notes = (*_cost_notes(results), _MEMORY_NOTE, *([_GPU_MEMORY_NOTE] if on_gpu else []))
    return Grid("Cost of every method", headings, rows, notes)


_MEMORY_NOTE = (
    "Peak: the most main memory that the process held during search and final evaluation, in MiB, libraries "
    f"and data included; {ABSENT} where it was not measured."
)
_GPU_MEMORY_NOTE = "GPU: the most that tensors took on the GPU meanwhile, in MiB."


def forget_heading(results: Results) -> str:
    """Of the accuracies on what is to be forgotten of the test split."""
    return f"Forget\n{results.forget_split}"


def _score_headings(results: Results) -> list[str]:
    """Test first: on a narrow screen these are what is seen."""
    return ["λ", forget_heading(results), "Retain\ntest"]


def _choice_headings(results: Results) -> list[str]:
    return [*([] if results.forgets_training_images else ["Forget\nval."]), "Retain\nval.", "Kept\n%"]


def _scores(row: Row) -> list[str]:
    coefficient = ABSENT if row.coefficient is None else f"{row.coefficient:.4g}"
    return [
        coefficient + ("+" if row.at_limit else ""),
        percent(row.test.forget),
        percent(row.test.retain),
    ]


def _chosen_by(row: Row, results: Results) -> list[str]:
    forget = [] if results.forgets_training_images else [percent(row.validation.forget)]
    return [*forget, percent(row.validation.retain), percent(row.kept_fraction)]


def _of_base(row: Row, results: Results) -> str:
    base = results.rows[0].test.retain
    return percent(row.test.retain / base if base else None)


def _cost(row: Row) -> list[str]:
    return [str(row.evaluations), f"{row.training_seconds:.1f}", f"{row.seconds:.1f}"]


def _accuracy_notes(results: Results) -> list[str]:
    lines = []
    if any(row.coefficient for row in results.rows):
        lines.append(f"λ: coefficient of the negated vector with the {_objective(results)}.")
    if results.forgets_training_images:
        lines.append(
            "Forget: of the very training images to be forgotten, which coefficients were chosen by as well."
        )
    if below := [row.title for row in results.rows if _below_floor(row, results)]:
        lines.append(f"Below the floor, as nothing that was tried keeps it: {listed(below)}.")
    lines += [
        f"{row.title}: {', '.join(f'{name} {value}' for name, value in options.items())}."
        for row in results.rows
        if (options := results.options_of(row))
    ]
    if any(row.at_limit for row in results.rows):
        lines.append("+: the search ended at the recipe's limit.")
    elements = next((row.elements for row in results.rows if row.kept is not None), None)
    if elements:
        lines.append(f"Kept: elements in the merged vector, of the model's {elements:,}.{_zeros(results)}")
    return lines


def _zeros(results: Results) -> str:
    """Which methods count exact zeros as kept: the definitions of what is kept are the methods' own."""
    methods = results.methods
    merged = [row for row in results.rows if row.kept is not None and row.method in methods]
    counted, left_out = (
        [row.title for row in merged if methods[row.method].keeps_zeros is keeps] for keeps in (True, False)
    )
    if not counted or not left_out:
        return ""
    histogram = None if results.agreement is None else results.agreement.histogram
    elements = merged[0].elements
    share = f" ({percent(histogram[0] / elements)} % of the model)" if histogram and elements else ""
    return (
        f" Exact zeros, as fine-tuning leaves where it changes nothing{share}, are kept by "
        f"{listed(counted)}, by the methods' own definitions, and not by {listed(left_out)}: "
        "compare within these groups."
    )


def _cost_notes(results: Results) -> list[str]:
    seconds = sum(member.seconds for member in results.pool)
    return [
        f"Tries: passes over the validation split ({_images(results)}).",
        "Train: seconds of training, the base's apart. Search: merging, search and final evaluation.",
        f"The pool of {len(results.pool)} fine-tuned checkpoints took {seconds:.1f} s.",
    ]


def _images_notes(results: Results) -> list[str]:
    """What the choices rest on, and how far accuracies of so few images are certain."""
    forget, retain = (results.images["validation"][part] for part in ("forget", "retain"))
    row = headline(results)
    errors = [
        math.sqrt(p * (1 - p) / max(n, 1))
        for p, n in ((row.validation.forget, forget), (row.validation.retain, retain))
    ]
    return [
        f"Validation, by which is chosen, has {_images(results)}.",
        f"At that size accuracies have standard errors of √(p(1 − p)/n): {percent(errors[0])} points "
        f"(forget) and {percent(errors[1])} (retain) for {row.title} on validation.",
    ]


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
    ranked = _ranked(results)
    if len(ranked) < 2:
        return ""
    forget, retain = (_step(results.images["test"][part]) for part in ("forget", "retain"))
    return (
        f"On test, {_best_and(headline(results), ranked, results)}. One image is {forget} points of forget, "
        f"{retain} of retain accuracy."
    )


def headline(results: Results) -> Row:
    """The row that stands for the run: NegMerge, or else the last method searched, or the last row."""
    searched = _searched(results)
    ours = next((row for row in searched if row.method == "negmerge"), None)
    return ours or (searched or list(results.rows))[-1]


def best_on_test(results: Results) -> Row:
    """The best of the methods searched, on the test split, by what was searched for; else the headline."""
    return next(iter(_ranked(results)), headline(results))


def _searched(results: Results) -> list[Row]:
    """Methods that forget, the reference apart, and retain on validation what the recipe asks for."""
    return [row for row in results.rows[1:] if row.method != REFERENCE and not _below_floor(row, results)]


def _below_floor(row: Row, results: Results) -> bool:
    return results.retain_floor is not None and row.validation.retain < results.retain_floor


def _ranked(results: Results) -> list[Row]:
    """Methods searched, the best on the test split first."""
    searched = _searched(results)
    gaps = _gaps(results)
    if gaps:
        return sorted(searched, key=lambda row: gaps[row.title])
    return sorted(searched, key=lambda row: (row.test.forget, -row.test.retain))


def _gaps(results: Results) -> dict[str, float]:
    """Average gaps by title, if these were searched for and all are known; else none."""
    searched = _searched(results)
    gaps = {row.title: gap for row in searched if (gap := results.average_gap(row)) is not None}
    by_gap = results.recipe["search"]["objective"] == "gap" and len(gaps) == len(searched)
    return gaps if by_gap else {}


def _best_and(reference: Row, ranked: Sequence[Row], results: Results) -> str:
    """The best of the methods and, if that is not the reference, this one too; else the next."""
    best, *others = ranked
    other = reference if best is not reference else others[0]
    if gaps := _gaps(results):
        closest, next_to_it = (percent(gaps[row.title], 2) for row in (best, other))
        return (
            f"{best.title} comes closest to Retrain, with an average gap of {closest} points; "
            f"that of {other.title} is {next_to_it}"
        )
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
