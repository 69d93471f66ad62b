from __future__ import annotations

import numpy as np
import pytest
from metrics_models import outputs, with_confidence
from negmerge.metrics.mia_logistic import LOW_FPR, Attack, logistic_attack
from negmerge.metrics.outputs import loss
from sklearn.metrics import roc_auc_score


def test_a_model_that_treats_both_alike_gives_nothing_away():
    attacks = [
        logistic_attack(outputs(seed, 400, sureness=3), outputs(seed + 50, 400, sureness=3))
        for seed in range(8)
    ]
    assert np.mean([attack.auc for attack in attacks]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([attack.tpr for attack in attacks]) == pytest.approx(LOW_FPR, abs=0.02)


def test_a_memoriser_is_found_out():
    attack = logistic_attack(outputs(0, 300, sureness=15), outputs(1, 500, sureness=2))
    assert attack.auc > 0.98
    assert attack.tpr > 0.9


def test_unlearning_too_much_is_found_out_too():
    attack = logistic_attack(outputs(0, 300, sureness=-6), outputs(1, 300, sureness=3))
    assert attack.auc > 0.98


def test_is_at_least_as_strong_as_the_loss_alone():
    forget, unseen = outputs(0, 600, sureness=4), outputs(1, 600, sureness=3)
    alone = roc_auc_score([0] * 600 + [1] * 600, np.concatenate([loss(forget), loss(unseen)]))
    assert logistic_attack(forget, unseen).auc > alone - 0.02 > 0.55


def test_separable_by_hand():
    forget, unseen = with_confidence([0.9 + 0.005 * k for k in range(10)]), with_confidence([0.1] * 10)
    assert logistic_attack(forget, unseen) == Attack(auc=1.0, tpr=1.0)


def test_a_constant_model_is_worth_a_guess():
    attack = logistic_attack(with_confidence([0.5] * 20), with_confidence([0.5] * 20))
    assert attack == Attack(auc=0.5, tpr=0.0)


def test_same_outputs_same_attack():
    forget, unseen = outputs(0, 100, sureness=4), outputs(1, 60, sureness=3)
    assert logistic_attack(forget, unseen) == logistic_attack(forget, unseen)


def test_with_one_image_there_is_nothing_to_learn_from():
    assert logistic_attack(with_confidence([0.5]), with_confidence([0.5, 0.6])) is None
    assert logistic_attack(with_confidence([0.5, 0.9]), with_confidence([0.5, 0.6])) is not None
