"""VGG-16 with BatchNorm for small images: torchvision's convolutions, their mean, and one linear layer.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from .classifier import Classifier, refuse
from .image_input import ImageInput
from .shape import Shape
from .weights import load_checkpoint

if TYPE_CHECKING:
    from ..recipe import Model

_CHANNELS = 512


class VGG16(nn.Module):
    """Thirteen 3×3 convolutions, pooled five times: images need 32 pixels a side or more."""

    def __init__(self, *, classes: int) -> None:
        from torchvision.models import vgg16_bn  # slow to import

        super().__init__()
        self.features = vgg16_bn().features
        self.classifier = nn.Linear(_CHANNELS, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits


def build(spec: Model, shape: Shape) -> Classifier:
    """``pretrained`` is a checkpoint."""
    refuse(spec, "width")
    network = VGG16(classes=shape.classes)
    load_checkpoint(network, spec)
    return Classifier(ImageInput(spec.image_size, shape.mean, shape.std), network)
