from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from negmerge.chance import by_chance
from negmerge.cli.inspect_plot import _agreement

from negmerge_ext import TensorStats


def drawn(agreement: list[int]):
    """The agreement panel of one tensor, its bars (left, right, height), and its texts."""
    elements = sum(agreement)
    stats = TensorStats("w", elements, agreement[-1], 1.0, 1.0, 0, tuple(agreement))
    axes = Figure().subplots()
    _agreement(axes, SimpleNamespace(merged=(stats,), models=len(agreement) - 1, elements=elements))
    bars = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in axes.patches]
    return axes, bars, [text.get_text() for text in axes.texts]


def test_few_models_have_a_bar_each_and_no_impossible_camp():
    axes, bars, texts = drawn([0, 0, 6, 2])
    assert bars == [(1.5, 2.5, 75.0), (2.5, 3.5, 25.0), (2.5, 3.5, 25.0)]
    assert axes.get_xlim()[0] > 1
    assert texts == ["all models agree: 25.0 %"]


def test_zeros_and_nan_have_a_bar_of_their_own():
    _, bars, _ = drawn([1, 1, 6, 2])
    assert (0.5, 1.5, 20.0) in bars


@pytest.mark.parametrize("models", [1, 2, 49, 100, 101, 2000, 65535])
def test_many_models_share_wide_bars_that_add_up(models):
    agreement = np.zeros(models + 1, np.int64)
    agreement[(models + 1) // 2 :] = 3
    axes, bars, _ = drawn(agreement.tolist())
    *all_bars, unanimous = bars
    assert len(all_bars) <= 50
    assert sum(height for *_, height in all_bars) == pytest.approx(100)
    assert unanimous[1] == models + 0.5
    assert (unanimous[1] - unanimous[0]) * 60 > axes.get_xlim()[1] - axes.get_xlim()[0]


@pytest.mark.parametrize("models", [1, 2, 3, 30, 2000])
def test_chances_add_up(models):
    assert by_chance(models).sum() == pytest.approx(1)
