"""Forget and retain accuracy of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from .data.batches import batches_of
from .data.image_set import ImageSet
from .data.selection import ForgetRetain, Selection
from .metrics.accuracy import accuracy

_BATCH = 1024


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracies in [0, 1] on the forget and the retain images of a split."""

    forget: float
    retain: float


class Evaluation:
    """Evaluates models on the validation and the test split."""

    def __init__(self, images: ImageSet, selection: Selection) -> None:
        self._images = images
        self._parts = {"validation": selection.validation, "test": selection.test}

    def scores(self, model: nn.Module, split: Literal["validation", "test"]) -> Scores:
        """Accuracies on one split, without augmentation."""
        part: ForgetRetain = self._parts[split]
        return Scores(self._accuracy(model, part.forget), self._accuracy(model, part.retain))

    def _accuracy(self, model: nn.Module, rows: np.ndarray) -> float:
        batches = batches_of(self._images, rows, _BATCH)
        logits, labels = zip(*((predict(model, images), labels) for images, labels in batches), strict=True)
        return accuracy(torch.cat(logits), torch.cat(labels))


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits ``[n, classes]`` of uint8 images ``[n, channels, height, width]``, in eval mode."""
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(batch.float() / 255) for batch in torch.split(images, _BATCH)])
