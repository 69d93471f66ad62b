"""Several runs of one comparison: the same recipe, other seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from ..errors import DataError
from ..metrics.matched_retain import LEVELS, Spread, forget_at_retain, spread
from ..recipe import Recipe
from ..results import Results, Row

#: Points of an envelope.
_STEPS = 101


@dataclass(frozen=True, slots=True)
class MethodOverRuns:
    """One method over all runs; ``None`` where a run has no value.

    at: forget accuracy in [0, 1] at each of the matched levels of retain accuracy. area: its mean over them.
    gap: average gap to Retrain on the test split, in [0, 1]. seconds: of training, merging, search and
    evaluation. test_forget, test_retain: accuracies of the chosen model on the test split.
    """

    method: str
    title: str
    at: tuple[Spread | None, ...]
    area: Spread | None
    gap: Spread | None
    seconds: Spread | None
    test_forget: Spread | None
    test_retain: Spread | None


def check_comparable(runs: Sequence[Results]) -> None:
    """Raise :class:`~negmerge.errors.DataError` unless the recipes differ in name and seed only.

    Nor may two runs have the same seed: they would be one run counted twice.
    """
    first = _comparable(runs[0])
    seeds: set[int] = set()
    for results in runs:
        name, seed = results.recipe["name"], results.recipe["seed"]
        here = _comparable(results)
        if changed := [key for key in first if first[key] != here.get(key)]:
            raise DataError(
                f"the recipes differ in {', '.join(changed)}",
                path=name,
                remedy="Runs are averaged that differ in their seed only",
            )
        if seed in seeds:
            raise DataError(f"two runs have seed {seed}", path=name)
        seeds.add(seed)


def matched_over_runs(runs: Sequence[Results]) -> list[MethodOverRuns]:
    """Mean and deviation of every method, in the order of the first run."""
    return [_over_runs(row.method, runs) for row in runs[0].rows[1:]]


def _over_runs(name: str, runs: Sequence[Results]) -> MethodOverRuns:
    rows = [next(row for row in results.rows if row.method == name) for results in runs]
    matches = [results.matched(row) for results, row in zip(runs, rows, strict=True)]

    def over(value: Callable[[Results, Row], float | None]) -> Spread | None:
        return spread([value(results, row) for results, row in zip(runs, rows, strict=True)])

    return MethodOverRuns(
        method=name,
        title=rows[0].title,
        at=tuple(spread([match.at[place] for match in matches]) for place in range(len(LEVELS))),
        area=spread([match.area for match in matches]),
        gap=over(lambda results, row: results.average_gap(row)),
        seconds=over(lambda results, row: row.training_seconds + row.seconds),
        test_forget=over(lambda results, row: row.test.forget),
        test_retain=over(lambda results, row: row.test.retain),
    )


def envelope(runs: Sequence[Results], method: str) -> list[tuple[float, float, float] | None]:
    """Along retain accuracy as a share of the base's, from the lowest level to 1: that share, and mean and
    standard deviation (0 of one run) of the lowest forget accuracy; ``None`` where a run does not reach it.
    """
    low = min(LEVELS)
    shares = [low + (1 - low) * step / (_STEPS - 1) for step in range(_STEPS)]
    return [_at_share(runs, method, share) for share in shares]


def _at_share(runs: Sequence[Results], method: str, share: float) -> tuple[float, float, float] | None:
    values = []
    for results in runs:
        row = next(row for row in results.rows if row.method == method)
        values.append(forget_at_retain(row.curves, share * results.rows[0].validation.retain))
    found = spread(values)
    return None if found is None else (share, found.mean, found.std or 0.0)


def _comparable(results: Results) -> dict[str, object]:
    """A recipe's keys but for its name and seed; those not yet known when it ran have their defaults."""
    recipe = results.recipe
    with suppress(ValidationError):  # of a key that there is no more: compared as it was recorded
        recipe = Recipe.model_validate(recipe).model_dump(mode="json")
    return {key: value for key, value in recipe.items() if key not in ("name", "seed")}
