"""Which parameters a fine-tuning leaves as they are: patterns against a model's names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from .errors import RecipeError
from .registry import suggestion

#: Among ``freeze`` patterns, stands for every parameter of an attention layer.
ATTENTION = "attention"
#: Classes of attention layers in torch, torchvision, timm and open_clip; not blocks of layers, nor pooling.
_ATTENTION_LAYER = re.compile("Attention(?!al|Block|Pool)")
#: Names told at most where none is near a pattern.
_LISTED = 5


def frozen_parameters(model: nn.Module, freeze: Sequence[str]) -> set[str]:
    """Names of the parameters of ``model`` that glob patterns and :data:`ATTENTION` in ``freeze`` match.

    Raises :class:`~negmerge.errors.RecipeError` for a pattern that matches nothing, with the nearest name or
    pattern that does, and if no parameter is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen: set[str] = set()
    for pattern in freeze:
        matched = (
            _of_attention(model)
            if pattern == ATTENTION
            else {name for name in names if fnmatchcase(name, pattern)}
        )
        if not matched:
            raise RecipeError(
                f"pool.freeze: {pattern!r} matches no parameter of the model"
                f"{suggestion(pattern, _patterns(model, names), most=_LISTED)}"
            )
        frozen |= matched
    if frozen.issuperset(names):
        raise RecipeError("pool.freeze: no parameter is left to train")
    return frozen


def _patterns(model: nn.Module, names: Sequence[str]) -> list[str]:
    """What would match: names, whole modules, and attention if there is any."""
    modules = [
        place
        for place, module in model.named_modules()
        if place and next(module.parameters(), None) is not None
    ]
    return [*names, *(f"{place}.*" for place in modules), *([ATTENTION] if _of_attention(model) else [])]


def _of_attention(model: nn.Module) -> set[str]:
    """Names of the parameters of attention layers, of torch and of the libraries alike."""
    return {
        f"{place}.{name}"
        for place, module in model.named_modules()
        if _ATTENTION_LAYER.search(type(module).__name__)
        for name, _ in module.named_parameters()
    }
