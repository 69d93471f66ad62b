"""Accuracies of a model on forget and retain images, and the measures that compare it with Retrain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import nn

from .data.batches import batches_of
from .data.image_set import ImageSet
from .data.selection import Selection
from .metrics.accuracy import accuracy
from .metrics.measures import Measures, measure
from .metrics.outputs import Outputs

_BATCH = 1024

#: The splits that models are evaluated on: what is chosen is chosen on validation, and test is for reporting.
Held = Literal["validation", "test"]


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracies in [0, 1] on the forget and the retain images of a split."""

    forget: float
    retain: float


class Evaluated(TypedDict):
    """All that is known of a model: on both splits, scores, and measures if the run compares with Retrain."""

    validation: Scores
    test: Scores
    validation_measures: Measures | None
    test_measures: Measures | None


class Evaluation:
    """Evaluates models on the validation and the test split."""

    def __init__(self, images: ImageSet, selection: Selection) -> None:
        self._images = images
        self._train = selection.train
        self._parts = {"validation": selection.validation, "test": selection.test}

    def scores(self, model: nn.Module, split: Held) -> Scores:
        """Accuracies on one split, without augmentation."""
        part = self._parts[split]
        return _scores(self._outputs(model, part.forget), self._outputs(model, part.retain))

    def scores_and_measures(self, model: nn.Module, split: Held, *, attack: bool) -> tuple[Scores, Measures]:
        """The same, and the measures whose unseen images are those of ``split``.

        It takes a pass over the training split too. attack: whether to make the stronger attack as well.
        """
        part = self._parts[split]
        forget, retain = (self._outputs(model, rows) for rows in (self._train.forget, self._train.retain))
        held_out = self._outputs(model, part.retain)
        if np.array_equal(part.forget, self._train.forget):
            # Single training images are forgotten: the split's other images are of the same classes.
            return _scores(forget, held_out), measure(forget, retain, held_out, held_out if attack else None)
        held_out_forget = self._outputs(model, part.forget)
        return _scores(held_out_forget, held_out), measure(
            forget, retain, held_out, held_out_forget if attack else None
        )

    def evaluated(self, model: nn.Module, *, measures: bool) -> Evaluated:
        """Everything on both splits; measures only if they are asked for."""
        if not measures:
            return Evaluated(
                validation=self.scores(model, "validation"),
                test=self.scores(model, "test"),
                validation_measures=None,
                test_measures=None,
            )
        (validation, on_validation), (test, on_test) = (
            self.scores_and_measures(model, "validation", attack=True),
            self.scores_and_measures(model, "test", attack=True),
        )
        return Evaluated(
            validation=validation, test=test, validation_measures=on_validation, test_measures=on_test
        )

    def _outputs(self, model: nn.Module, rows: np.ndarray) -> Outputs:
        batches = batches_of(self._images, rows, _BATCH)
        logits, labels = zip(*((predict(model, images), labels) for images, labels in batches), strict=True)
        return Outputs(torch.cat(logits), torch.cat(labels))


def _scores(forget: Outputs, retain: Outputs) -> Scores:
    return Scores(*(accuracy(part.logits, part.labels) for part in (forget, retain)))


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits ``[n, classes]`` of uint8 images ``[n, channels, height, width]``, in eval mode.

    The model runs where its parameters are, if it has any; the logits come to where the images are.
    """
    model.eval()
    device = next(model.parameters(), images).device
    with torch.inference_mode():
        batches = (batch.to(device).float() / 255 for batch in torch.split(images, _BATCH))
        return torch.cat([model(batch).to(images.device) for batch in batches])
