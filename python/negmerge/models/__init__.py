"""Architectures, by the name that a recipe gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from torch import nn

#: Classifiers of float images [n, channels, height, width] in [0, 1]; they return logits [n, classes]. Called
#: with width (channels of the first layer), channels, classes, and mean and std of the pixels per channel.
MODELS: Registry[Callable[..., nn.Module]] = Registry("model", __name__, {"small_cnn": ".small_cnn:SmallCNN"})
