"""A model of a recipe built without its weights, to see whether there is such a model."""

from __future__ import annotations

import warnings

import torch
from torch import nn

from ..recipe import Model
from . import MODELS, knows_text
from .shape import Shape
from .weights import checkpoint_path


def built_without_memory(spec: Model) -> nn.Module:
    """The model that ``spec`` names, for some images and classes: for when the data set is not there.

    Its tensors are on torch's meta device, unless it computes with them when it is built. A checkpoint is
    read and has to fit; published weights are not asked for, which might download them. Raises
    :class:`~negmerge.errors.RecipeError`.
    """
    if checkpoint_path(spec) is None:
        spec = spec.model_copy(update={"pretrained": None})
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of weights that go nowhere
            return _built(spec)
    except NotImplementedError:
        return _built(spec)


def _built(spec: Model) -> nn.Module:
    build = MODELS.get(spec.name)
    if knows_text(spec.name):
        tower: nn.Module = build(spec, with_weights=False).image_tower()
        return tower
    some = Shape(channels=3, side=32, classes=10, mean=[0.5] * 3, std=[0.5] * 3)
    model: nn.Module = build(spec, some)
    return model
