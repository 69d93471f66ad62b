"""Small models of images and text, to be trained in minutes where no published one can be had: ``clip/NAME``.

Their text tower is CLIP's in small: three layers of width 128 over CLIP's byte-pair tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import RecipeError
from ..classifier import refuse
from ..efficientnet_lite0 import MEAN, NAME, STD, load_imagenet
from ..weights import load_pretrained, unknown_pretrained
from .clip import Clip

if TYPE_CHECKING:
    from ...recipe import Model

_SIDE = 64
_CONTEXT = 32
_EMBEDDING = 256
_TEXT = {"context_length": _CONTEXT, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3}

#: Image towers, as open_clip describes them.
_TOWERS: dict[str, dict[str, Any]] = {
    "efficientnet_lite0": {"timm_model_name": NAME, "timm_pool": "avg", "timm_proj": "linear"},
    "vit": {"layers": 6, "width": 192, "head_width": 64, "patch_size": 8},
}


def names() -> list[str]:
    """By their image towers."""
    return list(_TOWERS)


def accepts(name: str) -> bool:
    """No name but those listed."""
    return False


def build(spec: Model, *, with_weights: bool) -> Clip:
    """Random, or from the checkpoint ``pretrained``.

    efficientnet_lite0 with ``pretrained: imagenet`` has ImageNet's weights in its image tower.
    ``image_size`` is 64 pixels by default.
    """
    from open_clip import SimpleTokenizer
    from open_clip.model import CLIP

    refuse(spec, "width")
    name = spec.name.partition("/")[2]
    side = spec.image_size or _SIDE
    tower = _TOWERS[name]
    if side % tower.get("patch_size", 1):
        raise RecipeError(f"model.image_size of {spec.name} has to be a multiple of {tower['patch_size']}")
    model = CLIP(_EMBEDDING, {**tower, "image_size": side}, dict(_TEXT))
    from_imagenet = spec.pretrained == "imagenet" and name == "efficientnet_lite0"
    if with_weights:
        if from_imagenet:
            load_imagenet(model.visual.trunk)
        elif not load_pretrained(model, spec) and spec.pretrained is not None:
            raise unknown_pretrained(spec, "imagenet")
    return Clip(
        model=model,
        tokenize=SimpleTokenizer(context_length=_CONTEXT),
        side=side,
        mean=MEAN,
        std=STD,
    )
