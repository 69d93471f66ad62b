"""Architectures, by the name that a recipe gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..registry import Registry
from .libraries import Libraries

if TYPE_CHECKING:
    from torch import nn

    from ..recipe import Model
    from .shape import Shape

    #: Makes a classifier of float images [n, channels, height, width] in [0, 1], which returns logits
    #: [n, classes]. Raises :class:`~negmerge.errors.RecipeError` for options that the architecture lacks.
    Builder = Callable[[Model, Shape], nn.Module]

#: Ours, and those of libraries as LIBRARY/NAME. Those of images and text are built by :mod:`.clip` instead.
MODELS = Libraries(
    Registry(
        "model",
        __name__,
        {
            "small_cnn": ".small_cnn:build",
            "resnet18": ".resnet18:build",
            "vgg16_bn": ".vgg16:build",
            "swin_t": ".torchvision_models:build_swin_t",
            "efficientnet_lite0": ".efficientnet_lite0:build",
        },
    ),
    {
        "torchvision": ".torchvision_models",
        "timm": ".timm_models",
        "open_clip": ".clip.library",
        "clip": ".clip.small",
    },
)


def knows_text(name: str) -> bool:
    """Whether a model is one of images and text, which can be asked about any classes that have names."""
    return name.partition("/")[0] in ("open_clip", "clip")
