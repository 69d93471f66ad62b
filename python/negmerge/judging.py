"""What a model scores during a search: always on the validation split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass

from torch import nn

from .evaluate import Evaluation
from .keys import content_key
from .metrics.average_gap import average_gap
from .metrics.measures import Measures
from .results import Row
from .search import LeastForget, LeastGap, Objective, Point
from .side_by_side import side_by_side


@dataclass(frozen=True, slots=True)
class Judge:
    """Scores models for a search, and says what is better.

    base: the base. retain_ratio: share of its retain accuracy that a model must keep. retrained: Retrain's
    measures on validation, if models are to come close to it instead.
    """

    evaluation: Evaluation
    base: Row
    retain_ratio: float
    retrained: Measures | None = None

    @property
    def key(self) -> str:
        """Content key of what a point depends on beside the model."""
        return content_key(
            asdict(self.base_point), None if self.retrained is None else asdict(self.retrained)
        )

    @property
    def base_point(self) -> Point:
        """The base as coefficient 0."""
        scores, measures = self.base.validation, self.base.validation_measures
        return Point(0.0, scores.forget, scores.retain, self._gap(measures))

    @property
    def objective(self) -> Objective:
        """What points are chosen by."""
        if self.retrained is None:
            return LeastForget(self.retain_ratio * self.base.validation.retain)
        return LeastGap()

    def points(self, models: Iterable[tuple[float, nn.Module]]) -> Iterator[Point]:
        """What models score, in order; each is given with its coefficient, and need not outlive the next.

        The attack on one model is made while the next is asked.
        """
        if self.retrained is None:
            for coefficient, model in models:
                scores = self.evaluation.scores(model, "validation")
                yield Point(coefficient, scores.forget, scores.retain)
            return
        yield from side_by_side(self._pointing(coefficient, model) for coefficient, model in models)

    def _pointing(self, coefficient: float, model: nn.Module) -> Callable[[], Point]:
        measuring = self.evaluation.measuring(model, "validation", attack=False)

        def point() -> Point:
            scores, measures = measuring()
            return Point(coefficient, scores.forget, scores.retain, self._gap(measures))

        return point

    def _gap(self, measures: Measures | None) -> float | None:
        return None if measures is None or self.retrained is None else average_gap(measures, self.retrained)
