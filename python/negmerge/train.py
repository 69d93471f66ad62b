"""One training, from scratch or from a checkpoint."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import closing

import torch
from torch import nn
from torch.nn import functional

from .accumulation import accumulated
from .compute import CPU, Compute, memory_format
from .data.augmentation import augmented
from .data.examples import Examples
from .data.training_batches import Batch, TrainingBatches
from .errors import TrainingError
from .freezing import frozen_parameters
from .recipe import Training
from .schedule import rate_share, steps_per_epoch, total_steps

#: The mean loss, a scalar, that a model has on the images of a step: those of every set, augmented float
#: pixels in [0, 1] and labels; with the hyper-parameters and a generator of the CPU for what is drawn.
Objective = Callable[
    [nn.Module, Sequence[Examples], Sequence[Batch], Training, torch.Generator], torch.Tensor
]


def cross_entropy(
    model: nn.Module,
    examples: Sequence[Examples],
    batches: Sequence[Batch],
    spec: Training,
    generator: torch.Generator,
) -> torch.Tensor:
    """Of each image with the label of its set, by the head of its set."""
    losses = [
        functional.cross_entropy(
            examples[batch.source].head(model(batch.images)).float(),
            batch.labels,
            label_smoothing=spec.label_smoothing,
            reduction="sum",
        )
        for batch in batches
    ]
    return torch.stack(losses).sum() / sum(len(batch.labels) for batch in batches)


def train(
    model: nn.Module,
    examples: Sequence[Examples],
    spec: Training,
    *,
    seed: int,
    compute: Compute = CPU,
    freeze: Sequence[str] = (),
    freeze_statistics: bool = False,
    objective: Objective = cross_entropy,
    epoch_done: Callable[[], None] = lambda: None,
) -> float:
    """Train ``model`` in place; return the mean loss of the last epoch, or of the part of it that was done.

    examples: images of one set or several, of which batches take whatever comes. seed: of order,
    augmentation and whatever else is random. freeze: what stays as it is, to the bit, as
    :func:`~negmerge.freezing.frozen_parameters` takes it. freeze_statistics: BatchNorm normalises by its
    running statistics, which stay as they are. Raises what that does, and
    :class:`~negmerge.errors.TrainingError` if the loss stops being finite.
    """
    layout = memory_format(model)
    model.to(compute.device).to(memory_format=layout)
    for one in examples:
        one.head.to(compute.device)
    parameters = _trained(model, freeze)
    batches = TrainingBatches(examples, compute.device)
    optimizer = _optimizer(parameters, spec)
    per_epoch = steps_per_epoch(len(batches), spec.batch_size)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_share(spec, step, per_epoch))
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.lower is torch.float16)
    generator = torch.Generator().manual_seed(seed)

    def seen_as(images: torch.Tensor) -> torch.Tensor:
        # Some changes leave their own order of dimensions.
        pixels = augmented(compute.pixels(images, layout), spec, generator)
        return pixels.contiguous(memory_format=layout)

    def mean_loss(batches: Sequence[Batch]) -> torch.Tensor:
        with compute.autocast():
            return objective(model, examples, batches, spec, generator)

    def backward(loss: torch.Tensor) -> None:
        torch.autograd.backward(scaler.scale(loss))

    def step(drawn: Sequence[Batch]) -> torch.Tensor:
        changed = [Batch(one.source, seen_as(one.images), one.labels) for one in drawn]
        optimizer.zero_grad()
        loss = accumulated(mean_loss, backward, changed, spec.accumulation, generator)
        if spec.clip is not None:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, spec.clip)
        scaler.step(optimizer)
        scaler.update()
        schedule.step()
        return loss

    loss_of_epoch = math.nan
    model.train()
    if freeze_statistics:
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    left = total_steps(spec, per_epoch)
    # Dropout and the like draw from torch's global generator.
    with torch.random.fork_rng(devices=[compute.device] if compute.device.type == "cuda" else []):
        torch.manual_seed(seed)
        for epoch in range(1, math.ceil(left / per_epoch) + 1):
            seen, total = 0, torch.zeros((), dtype=torch.float64, device=compute.device)
            # What a signal handler raises is lost in a generator that is dropped, not closed.
            with closing(batches.epoch(spec.batch_size, generator)) as shuffled:
                for drawn in itertools.islice(shuffled, left):
                    count = sum(len(one.labels) for one in drawn)
                    seen += count
                    total += step(drawn) * count
            left -= per_epoch
            # Looked at once an epoch: every look waits for the device.
            loss_of_epoch = total.item() / seen
            if not math.isfinite(loss_of_epoch):
                raise TrainingError(
                    f"the loss is {loss_of_epoch} after epoch {epoch} with learning rate "
                    f"{spec.learning_rate:g}",
                    remedy="Lower the learning rate",
                )
            epoch_done()
    model.eval()
    return loss_of_epoch


def _optimizer(parameters: list[nn.Parameter], spec: Training) -> torch.optim.Optimizer:
    if spec.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=spec.learning_rate,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)


def _trained(model: nn.Module, freeze: Sequence[str]) -> list[nn.Parameter]:
    """The parameters to train; the others are told to take no gradient."""
    frozen = frozen_parameters(model, freeze)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
