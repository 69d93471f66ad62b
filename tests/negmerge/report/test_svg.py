from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup
from negmerge.report.svg import Chart, Range, ticks
from page_reader import Page


@given(
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e6),
    most=st.integers(2, 12),
)
def test_ticks_are_round_evenly_spaced_and_not_too_many(low, span, most):
    high = low + span
    found = ticks(low, high, most)
    step = (found[1] - found[0]) if len(found) > 1 else span
    assert len(found) <= most + 1
    assert all(low - 1e-6 * step - 1e-9 <= tick <= high + 1e-6 * step + 1e-9 for tick in found)
    assert all(later - earlier == pytest.approx(step, rel=1e-3) for earlier, later in pairwise(found))
    assert len(found) >= (most - 1) / 2.5 - 1, "enough of them to read the axis"


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (90, 101, 6, [90, 92, 94, 96, 98, 100]),
        (8, 16, 8, [*range(8, 17)]),
    ],
)
def test_ticks_by_hand(low, high, most, expected):
    assert ticks(low, high, most) == expected


def test_places_are_linear_between_the_ends_of_the_axes():
    chart = Chart("c", Range(0, 2), Range(10, 20), (200, 100), (20, 10, 30, 40))
    assert (chart.px(0), chart.px(1), chart.px(2)) == (20, 95, 170)
    assert (chart.py(10), chart.py(20)) == (60, 10)


def test_texts_are_escaped_and_the_drawing_is_well_formed():
    chart = Chart("c", Range(0, 1), Range(0, 1), (200, 100))
    chart.x_axis("<x> & y", [0, 1])
    chart.y_axis('"y"', [0, 1])
    chart.mark(0.5, 0.5, 0, "mark s1", "<tip>")
    chart.line([(0, 0), (1, 1)], "curve s1")
    chart.bar(0, 1, 0.5, "bar", "<bar>")
    drawn = chart.render("<title>", "a & b")
    assert isinstance(drawn, Markup)
    page = Page(f"<div>{drawn}</div>")
    for text in ("<x> & y", '"y"', "<tip>", "<bar>", "<title>", "a & b"):
        assert text in page.text
