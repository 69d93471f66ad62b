from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from metrics_models import by_hand, outputs
from negmerge.metrics.outputs import Outputs, confidence, entropy, log_odds, loss, modified_entropy
from sklearn.metrics import log_loss

ALL = (confidence, loss, entropy, log_odds, modified_entropy)
LOG2, LOG3 = math.log(2), math.log(3)


def test_by_hand():
    # probabilities (1/2, 1/2) and (3/4, 1/4), labels 0 and 1
    two = by_hand([[0.0, 0.0], [LOG3, 0.0]], [0, 1])
    assert confidence(two) == pytest.approx([1 / 2, 1 / 4])
    assert loss(two) == pytest.approx([LOG2, 2 * LOG2])
    assert entropy(two) == pytest.approx([LOG2, 3 / 4 * math.log(4 / 3) + 1 / 4 * math.log(4)])
    assert log_odds(two) == pytest.approx([0.0, -LOG3], abs=1e-6)
    # the label's term: -(1 - p) log p; the other class's: -p log(1 - p)
    second = 3 / 4 * math.log(4) + 3 / 4 * math.log(4)
    assert modified_entropy(two) == pytest.approx([1 / 2 * LOG2 + 1 / 2 * LOG2, second])


def test_modified_entropy_is_the_sum_of_its_definition():
    some = outputs(3, 50, sureness=1.0)
    chances = torch.softmax(some.logits, dim=1).numpy()
    expected = []
    for row, label in zip(chances, some.labels.tolist(), strict=True):
        others = [k for k in range(len(row)) if k != label]
        expected.append(
            -(1 - row[label]) * math.log(row[label]) - sum(row[k] * math.log(1 - row[k]) for k in others)
        )
    assert modified_entropy(some) == pytest.approx(expected)


def test_modified_entropy_orders_what_entropy_does_not():
    sure_and_right, sure_and_wrong = by_hand([[9.0, 0.0]], [0]), by_hand([[9.0, 0.0]], [1])
    assert entropy(sure_and_right) == entropy(sure_and_wrong)
    assert modified_entropy(sure_and_right) < 0.01 < 5 < modified_entropy(sure_and_wrong)


def test_loss_agrees_with_scikit_learn():
    some = outputs(0, 200, sureness=2.0)
    chances = torch.softmax(some.logits, dim=1).numpy()
    expected = log_loss(some.labels.numpy(), chances, labels=list(range(10)))
    assert loss(some).mean() == pytest.approx(expected)


def test_certainty_stays_finite_and_ordered():
    for sign in (1.0, -1.0):
        sure = by_hand([[sign * 500.0, 0.0, 0.0], [sign * 600.0, 0.0, 0.0]], [0, 0])
        for measure in ALL:
            assert np.isfinite(measure(sure)).all(), measure.__name__
    odds = log_odds(by_hand([[500.0, 0.0, 0.0], [600.0, 0.0, 0.0]], [0, 0]))
    assert odds == pytest.approx([500 - LOG2, 600 - LOG2])


def test_a_model_that_broke_says_nothing():
    broken = by_hand([[math.nan, 0.0], [math.inf, 0.0], [0.0, 0.0]], [0, 0, 0])
    for measure in ALL:
        first, second, even = measure(broken)
        assert first == second == even, measure.__name__


def test_logits_of_any_floating_point_type_are_taken_as_they_are():
    half = Outputs(torch.tensor([[1.0, -2.0]], dtype=torch.bfloat16), torch.tensor([0]))
    assert loss(half) == pytest.approx([math.log1p(math.exp(-3))], rel=1e-12)
