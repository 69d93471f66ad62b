"""Gradients of a step in several passes, for models whose activations do not fit in memory at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .data.training_batches import Batch


def accumulated(
    mean_loss: Callable[[Sequence[Batch]], torch.Tensor],
    backward: Callable[[torch.Tensor], None],
    batches: Sequence[Batch],
    parts: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """The mean loss, a detached scalar, on the images of a step, which ``backward`` took the gradients of.

    The images are passed in ``parts`` of equal size, but for rounding; gradients are those of the whole step,
    up to rounding, unless the model mixes images, as BatchNorm does by statistics of a batch. generator: what
    the loss draws from; it draws the same for every part.
    """
    count = sum(len(batch.labels) for batch in batches)
    state = generator.get_state()
    total: torch.Tensor | None = None
    for part in divided(batches, parts):
        generator.set_state(state)
        share = sum(len(batch.labels) for batch in part) / count
        loss = mean_loss(part) * share
        backward(loss)
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None, "a step has images"
    return total


def divided(batches: Sequence[Batch], parts: int) -> list[list[Batch]]:
    """At most ``parts`` parts of the images, in their order; each is grouped by set as the whole is."""
    size = math.ceil(sum(len(batch.labels) for batch in batches) / parts)
    found: list[list[Batch]] = [[]]
    room = size
    for batch in batches:
        start = 0
        while start < len(batch.labels):
            if not room:
                found.append([])
                room = size
            end = min(start + room, len(batch.labels))
            found[-1].append(Batch(batch.source, batch.images[start:end], batch.labels[start:end]))
            room -= end - start
            start = end
    return found
