"""One training, from scratch or from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn
from torch.nn import functional

from .data.augmentation import random_affine
from .errors import RecipeError, TrainingError
from .recipe import Training

#: Gradients are scaled down to this L2 norm where they exceed it.
_CLIP = 1.0
_WARM_UP = 0.1


def train(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    spec: Training,
    *,
    seed: int,
    freeze: Sequence[str] = (),
    epoch_done: Callable[[], None] = lambda: None,
) -> float:
    """Train ``model`` in place with cross-entropy; return the mean loss of the last epoch.

    images: uint8 ``[n, channels, height, width]``. labels: int64 ``[n]``. seed: of order and augmentation.
    freeze: glob patterns of parameters that stay as they are, to the bit. Raises
    :class:`~negmerge.errors.RecipeError` for a pattern that matches nothing,
    :class:`~negmerge.errors.TrainingError` if the loss stops being finite.
    """
    parameters = _trained(model, freeze)
    steps = spec.epochs * math.ceil(len(images) / spec.batch_size)
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, steps))
    generator = torch.Generator().manual_seed(seed)
    loss_of_epoch = math.nan
    model.train()
    for epoch in range(1, spec.epochs + 1):
        loss_of_epoch = 0.0
        for batch in torch.split(torch.randperm(len(images), generator=generator), spec.batch_size):
            pixels = random_affine(images[batch].float() / 255, spec.augmentation, generator)
            loss = functional.cross_entropy(
                model(pixels), labels[batch], label_smoothing=spec.label_smoothing
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, _CLIP)
            optimizer.step()
            schedule.step()
            loss_of_epoch += loss.item() * len(batch) / len(images)
        if not math.isfinite(loss_of_epoch):
            raise TrainingError(
                f"the loss is {loss_of_epoch} after epoch {epoch} with learning rate {spec.learning_rate:g}",
                remedy="Lower the learning rate",
            )
        epoch_done()
    model.eval()
    return loss_of_epoch


def _trained(model: nn.Module, freeze: Sequence[str]) -> list[nn.Parameter]:
    """The parameters to train; the others are told to take no gradient."""
    for pattern in freeze:
        if not any(fnmatchcase(name, pattern) for name, _ in model.named_parameters()):
            raise RecipeError(
                f"freeze pattern {pattern!r} matches no parameter",
                remedy=f"Parameters are called {', '.join(name for name, _ in model.named_parameters())}",
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not any(fnmatchcase(name, pattern) for pattern in freeze))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise RecipeError("freeze leaves no parameter to train")
    return trained


def _learning_rate(step: int, steps: int) -> float:
    """Share of the peak: a linear rise over the first tenth of the steps, then a cosine down to zero."""
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
