from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from negmerge.evaluate import Scores
from negmerge.judging import Judge
from negmerge.metrics.measures import Measures
from negmerge.results import Row
from negmerge.search import LeastForget, LeastGap, Point

ON_VALIDATION = Measures(forget=0.9, retain=0.8, held_out=0.7, mia_efficacy=0.2, attack=None)
BASE = Row(
    method="base",
    title="Base",
    validation=Scores(forget=1.0, retain=0.8),
    test=Scores(0.0, 0.0),
    validation_measures=ON_VALIDATION,
    test_measures=replace(ON_VALIDATION, forget=0.0),
    training_seconds=0.0,
    seconds=0.0,
    coefficient=0.0,
)
RETRAINED = replace(ON_VALIDATION, forget=0.5, mia_efficacy=0.6)


class Evaluator:
    """Knows one answer per split, and what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def scores(self, model: object, split: str) -> Scores:
        self.asked.append(("scores", split))
        return Scores(0.25, 0.75)

    def measuring(self, model: object, split: str, *, attack: bool) -> Callable[[], tuple[Scores, Measures]]:
        assert not attack, "it does not enter the gap"
        self.asked.append(("measures", split))
        return lambda: (Scores(0.25, 0.75), replace(RETRAINED, retain=0.6))


def test_without_retrain_models_forget_while_they_retain():
    judge = Judge(Evaluator(), BASE, retain_ratio=0.5)
    assert isinstance(judge.objective, LeastForget)
    assert judge.base_point == Point(0.0, 1.0, 0.8, gap=None)
    assert list(judge.points([(0.5, None)])) == [Point(0.5, 0.25, 0.75, gap=None)]
    least, ruined = Point(0.5, 0.9, 0.4), Point(0.6, 0.0, 0.39)
    assert judge.objective.preference(least) < judge.objective.preference(ruined)


def test_with_retrain_models_come_close_to_it():
    judge = Judge(Evaluator(), BASE, retain_ratio=0.5, retrained=RETRAINED)
    assert isinstance(judge.objective, LeastGap)
    assert judge.base_point.gap == pytest.approx(0.8 / 4)
    assert list(judge.points([(0.5, None), (0.75, None)])) == [
        Point(0.5, 0.25, 0.75, gap=pytest.approx(0.05)),
        Point(0.75, 0.25, 0.75, gap=pytest.approx(0.05)),
    ]


@pytest.mark.parametrize("retrained", [None, RETRAINED])
def test_nothing_is_chosen_on_the_test_split(retrained):
    evaluator = Evaluator()
    list(Judge(evaluator, BASE, 0.95, retrained).points([(1.0, None)]))
    assert [split for _, split in evaluator.asked] == ["validation"]


def test_the_key_changes_with_what_models_are_judged_by():
    judges = [
        Judge(Evaluator(), BASE, 0.95),
        Judge(Evaluator(), replace(BASE, validation=Scores(0.9, 0.8)), 0.95),
        Judge(Evaluator(), BASE, 0.95, RETRAINED),
        Judge(Evaluator(), BASE, 0.95, ON_VALIDATION),
    ]
    assert len({judge.key for judge in judges}) == len(judges)
    assert Judge(Evaluator(), replace(BASE, test=Scores(1.0, 1.0)), 0.95).key == judges[0].key
