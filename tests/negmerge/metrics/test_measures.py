from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from metrics_models import by_hand, outputs
from negmerge.metrics.average_gap import average_gap
from negmerge.metrics.measures import Measures, measuring
from negmerge.metrics.mia_efficacy import mia_efficacy
from negmerge.metrics.mia_logistic import Attack, logistic_attack
from negmerge.metrics.outputs import confidence

# Retrain and task arithmetic as published for CIFAR-10, ResNet-18, 10 % at random: their gap is 1.62 points.
RETRAIN = Measures(0.9476, 1.0, 0.9426, 0.1288, Attack(0.5, 0.01))
ARITHMETIC = Measures(0.9485, 0.9836, 0.9149, 0.1091, None)


def test_average_gap_of_a_published_row():
    assert 100 * average_gap(ARITHMETIC, RETRAIN) == pytest.approx(1.62, abs=0.01)
    assert average_gap(RETRAIN, RETRAIN) == 0
    assert average_gap(RETRAIN, ARITHMETIC) == average_gap(ARITHMETIC, RETRAIN)


@pytest.mark.parametrize("name", ["forget", "retain", "held_out", "mia_efficacy"])
def test_every_measure_weighs_a_quarter(name):
    moved = replace(RETRAIN, **{name: getattr(RETRAIN, name) - 0.08})
    assert average_gap(moved, RETRAIN) == pytest.approx(0.02)


def test_measures_are_of_the_right_images():
    right, wrong = [5.0, 0.0], [0.0, 5.0]
    forget = by_hand([right, wrong, wrong, wrong], [0] * 4)
    retain = by_hand([right, right, right, wrong], [0] * 4)
    held_out = by_hand([right, wrong], [0] * 2)
    unseen = by_hand([wrong, wrong, right], [0] * 3)
    found = measuring(forget, retain, held_out, unseen)()
    assert (found.forget, found.retain, found.held_out) == (0.25, 0.75, 0.5)
    assert found.mia_efficacy == mia_efficacy(*map(confidence, (retain, held_out, forget)))
    assert found.attack == logistic_attack(forget, unseen)
    assert measuring(forget, retain, held_out, None)() == replace(found, attack=None)


def test_survive_json():
    for one in (RETRAIN, ARITHMETIC, measuring(*(outputs(seed, 40, sureness=3) for seed in range(4)))()):
        assert Measures.from_dict(json.loads(json.dumps(asdict(one)))) == one
