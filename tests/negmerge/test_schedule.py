from __future__ import annotations

import math

import pytest
from negmerge.recipe import Training
from negmerge.schedule import rate_share, total_steps


def shares(**spec: object) -> list[float]:
    training = Training(**({"epochs": 4, "learning_rate": 1.0} | spec))
    return [rate_share(training, step, 5) for step in range(20)]


def test_cosine_rises_evenly_and_falls_to_zero():
    found = shares(warm_up=0.2)
    assert found[:4] == [0.25, 0.5, 0.75, 1.0]
    assert found[4] == 1.0
    assert found[4:] == sorted(found[4:], reverse=True)
    assert found[12] == pytest.approx(0.5)
    assert found[-1] == pytest.approx(0.5 * (1 + math.cos(math.pi * 15 / 16)))


def test_warm_up_may_be_a_number_of_steps():
    assert shares(warm_up=10)[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert shares(warm_up=0)[0] == 1.0


def test_steps_fall_at_the_beginning_of_their_epochs():
    found = shares(schedule="steps", milestones=[1, 3], decay=0.1, warm_up=0)
    assert found == pytest.approx([1.0] * 5 + [0.1] * 10 + [0.01] * 5)


def test_constant_stays():
    assert shares(schedule="constant", warm_up=2) == [0.5] + [1.0] * 19


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"schedule": "steps"}, "milestones are the epochs of schedule: steps"),
        ({"milestones": [2]}, "milestones are the epochs of schedule: steps"),
        ({"schedule": "steps", "milestones": [3, 2]}, "the epochs must rise"),
        ({"warm_up": 1.5}, "1.5 is no share below 1"),
        ({"warm_up": -1}, "is neither a number of steps up to .* nor a share"),
        ({"warm_up": True}, "is neither a number of steps up to .* nor a share"),
    ],
)
def test_schedules_that_make_no_sense_are_refused(spec, says):
    with pytest.raises(ValueError, match=says):
        Training(epochs=4, learning_rate=1.0, **spec)


def test_epochs_may_be_a_fraction():
    assert [
        total_steps(Training(epochs=epochs, learning_rate=1.0), 40) for epochs in (2, 0.25, 1.5, 0.001)
    ] == [
        80,
        10,
        60,
        1,
    ]
