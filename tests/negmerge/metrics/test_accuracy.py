from __future__ import annotations

import numpy as np
import pytest
import torch
from negmerge.metrics.accuracy import accuracy
from sklearn.metrics import accuracy_score


def test_by_hand():
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2], [3.0, -1.0], [0.0, 5.0]])
    assert accuracy(logits, torch.tensor([1, 1, 0, 1])) == 0.75


def test_nan_is_never_right():
    logits = torch.tensor([[float("nan"), 0.0], [0.0, float("nan")], [1.0, 0.0]])
    assert accuracy(logits, torch.tensor([0, 1, 0])) == pytest.approx(1 / 3)


def test_agrees_with_scikit_learn():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(500, 7)), random.integers(0, 7, size=500)
    expected = accuracy_score(labels, logits.argmax(axis=1))
    assert accuracy(torch.from_numpy(logits), torch.from_numpy(labels)) == expected
