from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from negmerge.metrics.matched_retain import (
    LEVELS,
    Matched,
    Spread,
    forget_area,
    forget_at_retain,
    matched,
    spread,
)

LINE = [(1.0, 1.0), (0.0, 0.9)]  # forget falls from 1 to 0 while retain falls from 1 to 0.9


@pytest.mark.parametrize(("level", "forget"), [(1.0, 1.0), (0.99, 0.9), (0.97, 0.7), (0.9, 0.0), (0.5, 0.0)])
def test_a_straight_curve_is_read_between_its_points(level, forget):
    assert forget_at_retain([LINE], level) == pytest.approx(forget)


def test_a_curve_that_stays_below_has_no_value():
    assert forget_at_retain([LINE], 1.01) is None
    assert forget_area([LINE], 0.95, 1.01) is None


def test_the_lowest_value_counts_even_if_the_curve_comes_back():
    curve = [(1.0, 1.0), (0.2, 0.98), (0.6, 0.99), (0.0, 0.5)]
    assert forget_at_retain([curve], 0.98) == 0.2
    assert forget_at_retain([curve], 0.985) == pytest.approx(0.4)


def test_single_points_count_where_they_are():
    assert forget_at_retain([[(0.3, 0.96)]], 0.96) == 0.3
    assert forget_at_retain([[(0.3, 0.96)]], 0.97) is None


def test_the_best_of_several_curves_counts_and_nothing_between_them():
    models = [[(0.0, 0.9)], [(0.5, 0.97)], [(0.8, 1.0)]]
    assert [forget_at_retain(models, level) for level in (0.9, 0.95, 0.98)] == [0.0, 0.5, 0.8]
    assert forget_at_retain([*models, LINE], 0.96) == 0.5
    assert forget_at_retain([*models, LINE], 0.93) == pytest.approx(0.3)
    assert forget_area(models, 0.95, 1.0) == pytest.approx((0.5 * 0.02 + 0.8 * 0.03) / 0.05)
    assert forget_at_retain([], 0.5) is None


def test_area_of_a_triangle_and_of_a_rectangle():
    assert forget_area([LINE], 0.9, 1.0) == pytest.approx(0.5)
    assert forget_area([LINE], 0.95, 1.0) == pytest.approx(0.75)
    assert forget_area([[(0.3, 1.0)]], 0.95, 1.0) == pytest.approx(0.3)
    assert forget_area([LINE], 0.8, 1.0) == pytest.approx(0.25)


def test_levels_are_shares_of_the_base():
    half = [(forget, retain / 2) for forget, retain in LINE]
    found = matched([half], 0.5)
    assert found.at == pytest.approx((0.9, 0.7, 0.5))
    assert found.area == pytest.approx(0.75)
    assert matched([[(0.3, 0.96)]], 1.0) == Matched(at=(None, None, 0.3), area=None)


accuracies = st.floats(0, 1)


@given(curve=st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=20), level=accuracies)
def test_any_curve(curve, level):
    """Never above a point that qualifies, never below every point, and asking less never gives more."""
    value = forget_at_retain([curve], level)
    qualifying = [forget for forget, retain in curve if retain >= level]
    assert (value is None) == (not qualifying)
    if value is not None:
        assert min(forget for forget, _ in curve) - 1e-9 <= value <= min(qualifying)
        assert forget_at_retain([curve], level / 2) <= value + 1e-9


def test_spread_over_runs():
    values = [0.1, 0.4, 0.2]
    found = spread(values)
    assert found.mean == pytest.approx(statistics.mean(values))
    assert found.std == pytest.approx(statistics.stdev(values))
    assert found.runs == 3
    assert spread([0.25]) == Spread(0.25, None, 1)


def test_a_run_without_a_value_leaves_no_mean():
    assert spread([0.1, None]) is None
    assert spread([]) is None


def test_levels_are_those_of_the_documentation():
    assert LEVELS == (0.99, 0.97, 0.95)
