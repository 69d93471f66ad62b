from __future__ import annotations

import numpy as np
import pytest
import torch
from metrics_models import outputs, with_confidence
from negmerge.metrics import mia_efficacy as attack
from negmerge.metrics.outputs import Outputs, confidence
from sklearn.svm import SVC


def mia_efficacy(retain: Outputs, unseen: Outputs, forget: Outputs) -> float:
    return attack.mia_efficacy(confidence(retain), confidence(unseen), confidence(forget))


def test_by_hand():
    """Members at confidence 1, non-members at 0.2: what is near 1 counts as a member."""
    members, others = with_confidence([0.99] * 20), with_confidence([0.2] * 20)
    forget = with_confidence([0.98, 0.97, 0.25, 0.1])
    assert mia_efficacy(members, others, forget) == 0.5


def test_is_the_share_of_negatives_of_a_support_vector_machine_on_confidence():
    retain, unseen, forget = (outputs(seed, 150, sureness=sure) for seed, sure in ((0, 6), (1, 3), (2, 4)))
    features = [
        np.array([torch.softmax(row, 0)[label] for row, label in zip(part.logits, part.labels, strict=True)])
        for part in (retain, unseen, forget)
    ]
    machine = SVC(C=3, gamma="auto", kernel="rbf")
    machine.fit(np.concatenate(features[:2]).reshape(-1, 1), [1] * 150 + [0] * 150)
    expected = 1 - machine.predict(features[2].reshape(-1, 1)).mean()
    assert 0.05 < expected < 0.95
    assert mia_efficacy(retain, unseen, forget) == pytest.approx(expected)


def test_tells_a_memoriser_from_a_model_that_forgot():
    retain, unseen = outputs(0, 400, sureness=12), outputs(1, 400, sureness=3)
    memorised, forgotten = outputs(2, 200, sureness=12), outputs(3, 200, sureness=3)
    low, high = (mia_efficacy(retain, unseen, forget) for forget in (memorised, forgotten))
    assert low < 0.1
    assert high > 0.6


def test_members_are_taken_evenly_from_a_retain_set_that_is_larger():
    """A set that is sorted: its beginning is not like the rest."""
    sorted_by_confidence = with_confidence(np.linspace(0.05, 0.95, 400).tolist())
    unseen = with_confidence([0.2] * 20)
    assert mia_efficacy(sorted_by_confidence, unseen, with_confidence([0.9, 0.8])) == 0.0
    assert mia_efficacy(unseen, sorted_by_confidence, with_confidence([0.9, 0.8])) == 1.0


def test_a_single_image_on_each_side_is_enough():
    assert mia_efficacy(with_confidence([0.9]), with_confidence([0.1]), with_confidence([0.12])) == 1.0
