"""What a model scores during a search: always on the validation split."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import nn

from .evaluate import Evaluation
from .keys import content_key
from .metrics.average_gap import average_gap
from .metrics.measures import Measures
from .results import Row
from .search import LeastForget, LeastGap, Objective, Point


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

    def point(self, coefficient: float, model: nn.Module) -> Point:
        """What ``model``, the one of this coefficient, scores."""
        if self.retrained is None:
            scores, measures = self.evaluation.scores(model, "validation"), None
        else:
            scores, measures = self.evaluation.scores_and_measures(model, "validation", attack=False)
        return Point(coefficient, scores.forget, scores.retain, self._gap(measures))

    def _gap(self, measures: Measures | None) -> float | None:
        return None if measures is None or self.retrained is None else average_gap(measures, self.retrained)
