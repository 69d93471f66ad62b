"""Results of a run as they might be, without a run: small round numbers that can be told by hand."""

from __future__ import annotations

from typing import Any

from negmerge.agreement import Agreement, TensorAgreement
from negmerge.evaluate import Scores
from negmerge.metrics.measures import Measures
from negmerge.metrics.mia_logistic import Attack
from negmerge.results import Member, Results, Row
from negmerge.search import Point


def measures(forget: float, attack: Attack | None = None) -> Measures:
    return Measures(forget, retain=0.98, held_out=0.96, mia_efficacy=0.625, attack=attack)


CURVE = (Point(0.0, 1.0, 0.99), Point(0.5, 0.25, 0.96), Point(1.0, 0.0, 0.5))


def row(method: str, title: str, coefficient: float, *, at_limit: bool = False, candidates: int = 1) -> Row:
    return Row(
        method=method,
        title=title,
        validation=Scores(0.25, 0.96),
        test=Scores(0.375, 0.9512),
        validation_measures=measures(0.3),
        test_measures=measures(0.3),
        training_seconds=45.6,
        seconds=12.34,
        candidate="pool member 007",
        coefficient=coefficient,
        at_limit=at_limit,
        kept=125,
        elements=1000,
        evaluations=56,
        peak_memory=3 << 20,
        curve=CURVE,
        candidates=tuple(Point(0.5, place / 4, 0.96) for place in range(candidates)),
    )


def some_results(recipe: dict[str, Any]) -> Results:
    base = Row(
        method="base",
        title="Base",
        validation=Scores(1.0, 0.99),
        test=Scores(0.98, 0.985),
        validation_measures=measures(1.0),
        test_measures=measures(0.98, Attack(0.75, 0.125)),
        training_seconds=3.0,
        seconds=0.0,
        coefficient=0.0,
    )
    retrained = Row(
        method="retrain",
        title="Retrain",
        validation=Scores(0.0, 0.98),
        test=Scores(0.0, 0.97),
        validation_measures=measures(0.0),
        test_measures=measures(0.0, Attack(0.5, 0.01)),
        training_seconds=2.5,
        seconds=0.25,
        coefficient=None,
        elements=1000,
        curve=(Point(1.0, 0.0, 0.98),),
        candidates=(Point(1.0, 0.0, 0.98),),
    )
    member = Member("pool/000.safetensors", {"epochs": 1}, Scores(1.0, 0.2), loss=0.1, seconds=1.5)
    return Results(
        recipe=recipe,
        forgotten="class 3 of digits",
        images={name: {"forget": 8, "retain": 41} for name in ("train", "validation", "test")},
        data_sha256="0" * 64,
        retain_floor=0.95 * 0.99,
        rows=(
            base,
            retrained,
            row("single", "Best task vector", 0.5, candidates=4),
            row("negmerge", "NegMerge", 0.5),
        ),
        pool=(member, member),
        versions={"negmerge_ext": "0.0"},
        agreement=Agreement(
            models=2,
            model_elements=1000,
            tensors=(
                TensorAgreement("features.0.weight", 800, 100, (0, 700, 100)),
                TensorAgreement("head.bias", 10, 0, (10, 0, 0)),
            ),
        ),
    )
