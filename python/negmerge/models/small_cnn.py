"""A convolutional classifier for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from .classifier import refuse
from .image_input import Normalise
from .shape import Shape

if TYPE_CHECKING:
    from ..recipe import Model

_WIDTH = 32


class SmallCNN(nn.Module):
    """Three 3×3 convolutions of width, 2·width and 4·width channels, mean over the image, a linear head.

    GELU instead of ReLU: a unit that is dead on all images of a forget set would leave exact zeros in the
    task vectors, and these break sign consensus. GroupNorm instead of BatchNorm: no running statistics, which
    are not weights and do not merge.
    """

    def __init__(
        self, *, width: int, channels: int, classes: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.normalise = Normalise(mean, std)
        self.features = nn.Sequential(
            *_block(channels, width),
            *_block(width, 2 * width),
            nn.MaxPool2d(2),
            *_block(2 * width, 4 * width),
        )
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.features(self.normalise(images))
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3)))
        return logits


def _block(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    groups = next(count for count in (4, 2, 1) if outputs % count == 0)
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(groups, outputs), nn.GELU()


def build(spec: Model, shape: Shape) -> SmallCNN:
    """With random weights; ``width`` is 32 by default."""
    refuse(spec, "pretrained", "image_size")
    return SmallCNN(
        width=spec.width or _WIDTH,
        channels=shape.channels,
        classes=shape.classes,
        mean=shape.mean,
        std=shape.std,
    )
