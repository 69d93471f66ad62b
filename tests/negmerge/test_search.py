from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from negmerge import recipe
from negmerge.evaluate import Scores
from negmerge.search import Point, SearchResult, search

BASE = Scores(forget=1.0, retain=0.9)
Curve = Callable[[float], float]


def searched(forget: Curve, retain: Curve, *, base: Scores = BASE, **options: float) -> SearchResult:
    tried: list[float] = []

    def evaluate(coefficient: float) -> Scores:
        tried.append(coefficient)
        return Scores(forget(coefficient), retain(coefficient))

    found = search(evaluate, base, recipe.Search(**options))
    assert len(tried) == len(set(tried)) == found.evaluations, "each coefficient costs one evaluation"
    assert 0.0 not in tried, "the base was evaluated before"
    assert [point.coefficient for point in found.points] == sorted([0.0, *tried])
    return found


def test_monotone_curves_stop_at_the_retain_floor():
    # retain falls below 0.95 * 0.9 = 0.855 beyond 0.6; the grid has 0.6, the refinement 0.61 and more
    found = searched(lambda x: max(0.0, 1 - x), lambda x: 0.9 if x <= 0.613 else 0.5)
    assert found.chosen.coefficient == pytest.approx(0.61)
    assert found.floor == pytest.approx(0.855)
    assert found.evaluations == 20 + 8
    assert not found.at_limit


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
    found = searched(lambda x: 0.0, lambda x: 0.9, base=Scores(0.0, 0.9))
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


@given(
    scores=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40),
    base=st.builds(Scores, st.floats(0, 1), st.floats(0, 1)),
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
    assert found.points[0] == Point(0.0, base.forget, base.retain)
    assert found.points[-1].coefficient <= limit + 1e-6
    assert SearchResult.from_dict(_json(found)) == found


def _json(found: SearchResult) -> dict:
    import json
    from dataclasses import asdict

    return json.loads(json.dumps(asdict(found)))
