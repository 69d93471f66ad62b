"""ResNet-18 for small images: a 3×3 convolution of stride 1 first, and no pooling after it.

Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016; the stem is that of SalUn's
protocol for CIFAR-10. Parameters are named as in torchvision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from .classifier import Classifier
from .image_input import ImageInput
from .shape import Shape
from .weights import load_checkpoint

if TYPE_CHECKING:
    from ..recipe import Model

_WIDTH = 64


class _Block(nn.Module):
    """Two 3×3 convolutions beside the identity, or a 1×1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        changed = functional.relu(self.bn1(self.conv1(images)))
        return functional.relu(self.bn2(self.conv2(changed)) + self.downsample(images))


class ResNet18(nn.Module):
    """Four stages of width, 2·width, 4·width and 8·width channels, two blocks each."""

    def __init__(self, *, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(_Block(width, width, 1), _Block(width, width, 1))
        self.layer2 = nn.Sequential(_Block(width, 2 * width, 2), _Block(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(_Block(2 * width, 4 * width, 2), _Block(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(_Block(4 * width, 8 * width, 2), _Block(8 * width, 8 * width, 1))
        self.fc = nn.Linear(8 * width, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = functional.relu(self.bn1(self.conv1(images)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
        logits: torch.Tensor = self.fc(features.mean(dim=(2, 3)))
        return logits


def build(spec: Model, shape: Shape) -> Classifier:
    """``width`` is 64 by default; ``pretrained`` a checkpoint."""
    network = ResNet18(width=spec.width or _WIDTH, classes=shape.classes)
    load_checkpoint(network, spec)
    return Classifier(ImageInput(spec.image_size, shape.mean, shape.std), network)
