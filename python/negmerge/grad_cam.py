"""Grad-CAM: where in an image a model finds what speaks for a class.

Source: Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
ICCV 2017.

The maps are those of the last feature map of the network: what the last module returned, in the order of
execution, that still has height and width above 1, and that only vectors come behind. This is the output of
the last stage of a ResNet, VGG, EfficientNet or Swin transformer. A plain vision transformer has tokens
instead, which reach the class through one of them, and gets no maps; nor does a linearised model, whose
logits do not follow from what its modules return.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .models.linearised import Linearised

#: Modules that make their input smaller or larger whatever it shows: no place to look for evidence.
_POOLS = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.AvgPool2d, nn.Upsample)


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
    name, features = _last_feature_map(found)
    scores = logits.gather(1, labels.to(device)[:, None]).sum()
    (gradients,) = torch.autograd.grad(scores, features, allow_unused=True)
    if gradients is None:
        raise NoFeatureMapError(f"the logits do not follow from {name}")
    if not _channels_first(features):
        features, gradients = features.movedim(3, 1), gradients.movedim(3, 1)
    weights = gradients.mean(dim=(2, 3), keepdim=True)
    maps = (weights * features).sum(dim=1).relu()
    return Maps(maps.detach().float().cpu(), logits.detach().cpu(), name)


@contextmanager
def _recording(model: nn.Module) -> Iterator[list[tuple[str, nn.Module, torch.Tensor]]]:
    """Within the block: what every module returns, in the order in which they do."""
    found: list[tuple[str, nn.Module, torch.Tensor]] = []

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


def _last_feature_map(found: list[tuple[str, nn.Module, torch.Tensor]]) -> tuple[str, torch.Tensor]:
    for name, module, output in reversed(found):
        if output.ndim == 3:
            raise NoFeatureMapError("the model ends in tokens, not in a feature map")
        if output.ndim == 4 and not isinstance(module, _POOLS) and output.requires_grad:
            height, width = output.shape[2:] if _channels_first(output) else output.shape[1:3]
            if height * width > 1:
                return name, output
    raise NoFeatureMapError("no module of the model returns a feature map")


def _channels_first(features: torch.Tensor) -> bool:
    """Some networks have [n, h, w, channels]; square images tell it."""
    _, first, second, third = features.shape
    return not (first == second != third)
