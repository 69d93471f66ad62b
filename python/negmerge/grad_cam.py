"""Grad-CAM: where in an image a model finds what speaks for a class.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
ICCV 2017.

The maps are those of the last feature map of the network: what the last module returned, in the order of
execution, that still has height and width above 1, and that only vectors come behind. This is the output of
the last stage of a ResNet, VGG, EfficientNet or Swin transformer. A plain vision transformer has tokens
instead, one for each patch of the image and some others. Its maps are those of the patches, as the last
normalisation returns them from which the logits follow: with a class token the one before the last block's
attention, behind which no patch has a say. A linearised model gets no maps, as its logits do not follow from
what its modules return.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn

from .models.linearised import Linearised

#: Modules that make their input smaller or larger whatever it shows: no place to look for evidence.
_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.Upsample)

#: The most tokens that are no patches, and stand before these: one for the class, and some registers.
_OTHER_TOKENS = 8

#: What modules returned, by name, in the order of execution.
_Found: TypeAlias = list[tuple[str, nn.Module, torch.Tensor]]
#: The name of a module, what it returned and the gradient of that, ``[n, channels, h, w]``.
_Layer: TypeAlias = tuple[str, torch.Tensor, torch.Tensor]


class NoFeatureMapError(ValueError):
    """A model has no feature map that its logits follow from."""


@dataclass(frozen=True, eq=False)
class Maps:
    """maps: float32 ``[n, h, w]``, at least 0. logits: ``[n, classes]``. layer: the name of the module."""

    maps: torch.Tensor
    logits: torch.Tensor
    layer: str


def grad_cam(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, head: nn.Module | None = None
) -> Maps:
    """Maps of the evidence for ``labels``, in the model's own units, so that two models can be compared.

    ReLU(Σ_c α_c · A_c), with A the feature map and α_c the mean over the image of the gradient of the label's
    logit. images: uint8 ``[n, channels, height, width]``. labels: int64 ``[n]``. head: makes logits of what
    the model returns, unless these are logits. The model is left in eval mode. Raises
    :class:`NoFeatureMapError`.
    """
    if isinstance(model, Linearised):
        raise NoFeatureMapError("the logits of a linearised model do not follow from a feature map")
    model.eval()
    device = next(model.parameters(), images).device
    with torch.enable_grad(), _recording(model) as found:
        answers = model((images.to(device).float() / 255).requires_grad_())
        logits: torch.Tensor = answers if head is None else head.to(device)(answers)
    scores = logits.gather(1, labels.to(device)[:, None]).sum()
    name, features, gradients = (
        _of_tokens(found, scores, len(images)) if _ends_in_tokens(found) else _of_map(found, scores)
    )
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    maps = (weights * features).sum(dim=1).relu()
    return Maps(maps.detach().float().cpu(), logits.detach().cpu(), name)


@contextmanager
def _recording(model: nn.Module) -> Iterator[_Found]:
    """Within the block: what every module returns, in the order in which they do."""
    found: _Found = []

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                found.append((name, module, output))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _is_map(module: nn.Module, output: torch.Tensor) -> bool:
    if output.ndim != 4 or isinstance(module, _POOLS) or not output.requires_grad:
        return False
    height, width = output.shape[2:] if _channels_first(output) else output.shape[1:3]
    return height * width > 1


def _ends_in_tokens(found: _Found) -> bool:
    """Whether tokens, ``[n, tokens, d]``, come behind the last feature map."""
    return next((o.ndim == 3 for _, module, o in reversed(found) if o.ndim == 3 or _is_map(module, o)), False)


def _of_map(found: _Found, scores: torch.Tensor) -> _Layer:
    for name, module, output in reversed(found):
        if not _is_map(module, output):
            continue
        (gradients,) = torch.autograd.grad(scores, output, allow_unused=True)
        if gradients is None:
            raise NoFeatureMapError(f"the logits do not follow from {name}")
        first = _channels_first(output)
        return name, *((output, gradients) if first else (output.movedim(3, 1), gradients.movedim(3, 1)))
    raise NoFeatureMapError("no module of the model returns a feature map")


def _of_tokens(found: _Found, scores: torch.Tensor, images: int) -> _Layer:
    norms = [
        (name, output)
        for name, module, output in reversed(found)
        if isinstance(module, nn.LayerNorm) and output.ndim == 3 and output.requires_grad
    ]
    gradients = (
        torch.autograd.grad(scores, [output for _, output in norms], allow_unused=True) if norms else ()
    )
    for (name, tokens), gradient in zip(norms, gradients, strict=True):
        features = _grid(tokens, images)
        weights = None if gradient is None else _grid(gradient, images)
        if features is not None and weights is not None and weights.any():
            return name, features, weights
    raise NoFeatureMapError("the model ends in tokens that are no grid of patches")


def _grid(tokens: torch.Tensor, images: int) -> torch.Tensor | None:
    """The patches among the tokens as a map ``[n, d, side, side]``; ``None`` if they are no square."""
    if len(tokens) != images:  # some have the tokens first
        tokens = tokens.transpose(0, 1)
    count = tokens.shape[1]
    side = math.isqrt(count)
    # Of fewer tokens it cannot be told how many are patches.
    if side < 4 or count - side**2 > _OTHER_TOKENS:
        return None
    return tokens[:, count - side**2 :].transpose(1, 2).reshape(images, -1, side, side)


def _channels_first(features: torch.Tensor) -> bool:
    """Some networks have [n, h, w, channels]; square images tell it."""
    _, first, second, third = features.shape
    return not (first == second != third)
