"""Every classifier of timm, as ``timm/NAME``."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import timm
from timm.models import get_pretrained_cfg

from ..errors import RecipeError
from .classifier import Classifier, refuse
from .image_input import ImageInput
from .shape import Shape
from .weights import checkpoint_path, load_pretrained, unknown_pretrained

if TYPE_CHECKING:
    from ..recipe import Model


@lru_cache
def names() -> list[str]:
    """Architectures; a tag of weights may follow one after a dot."""
    return list(timm.list_models())


def accepts(name: str) -> bool:
    """Whether ``name`` is an architecture with a tag of weights that timm knows."""
    return name in timm.list_models(pretrained=True)


def build(spec: Model, shape: Shape) -> Classifier:
    """``pretrained: default`` takes timm's own weights, those of the tag if the name has one, from its hub.

    An architecture for one size of images gets ``image_size``, or its own; others take any.
    """
    refuse(spec, "width")
    name = spec.name.partition("/")[2]
    from_hub = spec.pretrained is not None and checkpoint_path(spec) is None
    if from_hub and spec.pretrained != "default":
        raise unknown_pretrained(spec, "default")
    config = get_pretrained_cfg(name)
    side, options = spec.image_size, dict[str, Any]()
    if config is not None and config.fixed_input_size:
        side = side or config.input_size[-1]
        options["img_size"] = side
    try:
        network = timm.create_model(name, pretrained=from_hub, num_classes=shape.classes, **options)
    except (OSError, RuntimeError, ValueError) as problem:
        if not from_hub:
            raise
        raise RecipeError(
            f"the weights of {spec.name} could not be had from timm's hub: {problem}",
            remedy="Give a checkpoint as model.pretrained",
        ) from problem
    load_pretrained(network, spec)
    mean, std = shape.mean, shape.std
    if spec.pretrained is not None and config is not None:
        mean, std = config.mean, config.std
    return Classifier(ImageInput(side, mean, std), network)
