"""Every classifier of torchvision, as ``torchvision/NAME``."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

from torchvision import models

from ..errors import RecipeError
from .classifier import Classifier, refuse
from .image_input import ImageInput
from .shape import Shape
from .weights import load_pretrained, unknown_pretrained

if TYPE_CHECKING:
    from torch import nn

    from ..recipe import Model

#: Of the images that torchvision's weights were trained on.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: Of the images that vision transformers are made for, unless the recipe says otherwise.
_SIDE = 224


@lru_cache
def names() -> list[str]:
    """Classifiers of images."""
    return list(models.list_models(module=models))


def accepts(name: str) -> bool:
    """No name but those listed."""
    return False


def build(spec: Model, shape: Shape) -> Classifier:
    """``pretrained: default``, or the name of weights such as ``imagenet1k_v1``, takes torchvision's."""
    return _build(spec, shape, spec.name.partition("/")[2])


def build_swin_t(spec: Model, shape: Shape) -> Classifier:
    """Swin-T. Source: Liu et al., Swin Transformer, ICCV 2021."""
    return _build(spec, shape, "swin_t")


def _build(spec: Model, shape: Shape, name: str) -> Classifier:
    refuse(spec, "width")
    builder = models.get_model_builder(name)
    side, options = spec.image_size, dict[str, Any]()
    if name.startswith("vit_"):
        side = options["image_size"] = spec.image_size or _SIDE
    network = builder(num_classes=shape.classes, **options)
    mean, std = shape.mean, shape.std
    if spec.pretrained is not None:
        mean, std = _MEAN, _STD
        if not load_pretrained(network, spec):
            _load_published(network, builder, spec, name)
    return Classifier(ImageInput(side, mean, std), network)


def _load_published(network: nn.Module, builder: Any, spec: Model, name: str) -> None:
    """Give ``network`` torchvision's weights, all but those of its last layer if the classes are others."""
    known = models.get_model_weights(name)
    wanted = (spec.pretrained or "").upper()
    if wanted not in known.__members__:
        raise unknown_pretrained(spec, " or ".join(name.lower() for name in known.__members__))
    try:
        published = builder(weights=known[wanted]).state_dict()
    except (URLError, OSError, RuntimeError) as problem:
        raise RecipeError(
            f"the weights of {spec.name} could not be downloaded: {problem}",
            remedy="Give a checkpoint as model.pretrained",
        ) from problem
    own = network.state_dict()
    network.load_state_dict(
        {key: published[key] if published[key].shape == own[key].shape else own[key] for key in own}
    )
