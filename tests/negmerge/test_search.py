from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from negmerge import recipe
from negmerge.search import LeastForget, LeastGap, Point, SearchResult, search

BASE = Point(0.0, forget=1.0, retain=0.9)
Curve = Callable[[float], float]


def searched(
    forget: Curve, retain: Curve, gap: Curve | None = None, *, base: Point = BASE, **options: object
) -> SearchResult:
    tried: list[float] = []

    def evaluate(coefficient: float) -> Point:
        tried.append(coefficient)
        missed = None if gap is None else gap(coefficient)
        return Point(coefficient, forget(coefficient), retain(coefficient), missed)

    spec = recipe.Search(**options)
    aim = LeastForget(spec.retain_ratio * base.retain) if gap is None else LeastGap()
    found = search(lambda coefficients: map(evaluate, coefficients), base, aim, spec)
    assert len(tried) == len(set(tried)) == found.evaluations, "each coefficient costs one evaluation"
    assert 0.0 not in tried, "the base was evaluated before"
    assert [point.coefficient for point in found.points] == sorted([0.0, *tried])
    return found


def test_monotone_curves_stop_at_the_retain_floor():
    # retain falls below 0.95 * 0.9 = 0.855 beyond 0.6; the grid has 0.6, the refinement 0.61 and more
    found = searched(lambda x: max(0.0, 1 - x), lambda x: 0.9 if x <= 0.613 else 0.5)
    assert found.chosen.coefficient == pytest.approx(0.61)
    assert found.evaluations == 20 + 8
    assert not found.at_limit


def test_where_nothing_keeps_the_floor_what_comes_closest_is_preferred():
    ruined, close, closer = Point(1.0, 0.0, 0.1), Point(1.0, 0.4, 0.88), Point(1.0, 0.5, 0.89)
    keeps = Point(1.0, 0.9, 0.9)
    order = sorted([ruined, close, closer, keeps], key=LeastForget(0.9).preference)
    assert order == [keeps, closer, close, ruined]


def test_first_grid_has_the_given_points_over_zero_to_one():
    found = searched(lambda x: x, lambda x: 0.0, points=5, refinements=0)
    assert [point.coefficient for point in found.points] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_infeasible_everywhere_returns_the_base():
    found = searched(lambda x: 0.0, lambda x: 0.1)
    assert found.chosen == Point(0.0, 1.0, 0.9)
    assert not found.at_limit


def test_flat_curves_return_the_base_and_say_that_the_limit_was_reached():
    found = searched(lambda x: 1.0, lambda x: 0.9, limit=4)
    assert found.chosen.coefficient == 0.0
    assert found.at_limit
    assert max(point.coefficient for point in found.points) == 4


def test_goes_beyond_one_while_more_can_be_forgotten():
    found = searched(lambda x: max(0.0, 1 - x / 4), lambda x: 0.9 if x < 3.1 else 0.0, limit=8)
    assert 2.9 < found.chosen.coefficient < 3.1
    assert not found.at_limit


def test_goes_beyond_one_where_forgetting_starts_late():
    found = searched(lambda x: 1.0 if x < 1.5 else 0.2, lambda x: 0.9 if x < 1.9 else 0.0)
    assert found.chosen.forget == 0.2


def test_stays_within_one_when_everything_is_forgotten_before():
    found = searched(lambda x: 0.0 if x >= 0.5 else 1.0, lambda x: 0.9 - 0.01 * x)
    assert found.points[-1].coefficient == 1.0
    assert found.chosen.coefficient == 0.5  # the highest retain accuracy among those that forget all


def test_never_passes_the_limit():
    found = searched(lambda x: 1 / (1 + x), lambda x: 0.9, limit=1.3333333333)
    assert found.points[-1].coefficient == pytest.approx(4 / 3, abs=1e-6)
    assert found.at_limit
    assert found.chosen == found.points[-1]


def test_ties_go_to_the_higher_retain_accuracy_then_to_the_smaller_coefficient():
    retain = {0.25: 0.88, 0.5: 0.89, 0.75: 0.89, 1.0: 0.86}
    found = searched(lambda x: 0.0, retain.__getitem__, points=5, refinements=0)
    assert found.chosen.coefficient == 0.5


def test_equal_scores_everywhere_choose_the_base():
    found = searched(lambda x: 0.0, lambda x: 0.9, base=Point(0.0, 0.0, 0.9))
    assert found.chosen.coefficient == 0.0


def test_refines_to_the_right_of_the_base_when_the_base_is_best_so_far():
    # all that qualifies lies below the first grid step
    found = searched(lambda x: 1 - x, lambda x: 0.9 if x < 0.05 else 0.0, points=11)
    assert 0.0 < found.chosen.coefficient < 0.05


def test_two_refinements_are_finer_than_one():
    def retain(x: float) -> float:
        return 0.9 if x <= 0.6189 else 0.0

    once = searched(lambda x: 1 - x, retain, refinements=1)
    twice = searched(lambda x: 1 - x, retain, refinements=2)
    assert once.chosen.coefficient < twice.chosen.coefficient <= 0.6189


def test_coefficients_that_do_not_depend_on_each_other_are_asked_for_together():
    asked: list[int] = []

    def evaluate(coefficients: Sequence[float]) -> list[Point]:
        asked.append(len(coefficients))
        return [Point(x, 1 - x / 2, 0.9, abs(x - 1.3)) for x in coefficients]

    search(evaluate, Point(0.0, 1.0, 0.9, 1.3), LeastGap(), recipe.Search(points=11, refinements=2))
    assert asked == [10, 5, 8, 8]


@given(
    scores=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40),
    base=st.builds(Point, st.just(0.0), st.floats(0, 1), st.floats(0, 1)),
    points=st.integers(2, 12),
    refinements=st.integers(0, 3),
    limit=st.floats(1, 20),
    ratio=st.floats(0.5, 1),
)
def test_noisy_curves(scores, base, points, refinements, limit, ratio):
    """Whatever the curve: the choice qualifies, and nothing tried that qualifies forgets more."""

    def at(coefficient: float) -> tuple[float, float]:
        return scores[hash(coefficient) % len(scores)]

    found = searched(
        lambda x: at(x)[0],
        lambda x: at(x)[1],
        base=base,
        points=points,
        refinements=refinements,
        limit=limit,
        retain_ratio=ratio,
    )
    qualifying = [point for point in found.points if point.retain >= ratio * base.retain]
    assert found.chosen in qualifying
    assert found.chosen.forget == min(point.forget for point in qualifying)
    assert found.points[0] == base
    assert found.points[-1].coefficient <= limit + 1e-6
    assert SearchResult.from_dict(_json(found)) == found


def by_gap(gap: Curve, **options: object) -> SearchResult:
    """Forget and retain accuracy fall along the coefficient; the search is for the smallest gap."""
    base = Point(0.0, 1.0, 0.9, gap(0.0))
    return searched(
        lambda x: 1 / (1 + x), lambda x: 0.9 / (1 + x), gap, base=base, objective="gap", **options
    )


def test_smallest_gap_is_found_between_grid_points():
    found = by_gap(lambda x: abs(x - 0.613))
    assert found.chosen.coefficient == pytest.approx(0.61)
    assert found.evaluations == 20 + 8
    assert not found.at_limit


def test_smallest_gap_has_no_retain_floor():
    assert by_gap(lambda x: abs(x - 1)).chosen.coefficient == 1.0  # retain accuracy is half of the base's


def test_smallest_gap_at_the_edge_goes_beyond_one():
    found = by_gap(lambda x: abs(x - 2.7))
    assert found.chosen.coefficient == pytest.approx(2.7, abs=0.03)
    assert not found.at_limit


def test_a_gap_that_falls_for_ever_ends_at_the_limit():
    found = by_gap(lambda x: 1 / (1 + x), limit=3)
    assert found.chosen.coefficient == 3.0
    assert found.at_limit


def test_a_gap_that_only_grows_chooses_the_base():
    found = by_gap(lambda x: x)
    assert found.chosen.coefficient == 0.0
    assert found.points[-1].coefficient == 1.0
    assert not found.at_limit


def test_a_flat_gap_chooses_the_base_and_says_that_the_limit_was_reached():
    found = by_gap(lambda x: 0.25, limit=4)
    assert found.chosen.coefficient == 0.0
    assert found.points[-1].coefficient == 4.0
    assert found.at_limit


@given(
    gaps=st.lists(st.floats(0, 1), min_size=1, max_size=40), points=st.integers(2, 12), limit=st.floats(1, 20)
)
def test_noisy_gaps(gaps, points, limit):
    found = by_gap(lambda x: gaps[hash(x) % len(gaps)], points=points, limit=limit)
    assert found.chosen.gap == min(point.gap for point in found.points)
    assert found.points[-1].coefficient <= limit + 1e-6
    assert SearchResult.from_dict(_json(found)) == found


def test_points_without_a_gap_cannot_be_searched_for_the_smallest():
    with pytest.raises(ValueError, match="have no gap"):
        search(lambda tried: [Point(x, 0.0, 0.0) for x in tried], BASE, LeastGap(), recipe.Search())


def _json(found: SearchResult) -> dict:
    import json
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(found)))
