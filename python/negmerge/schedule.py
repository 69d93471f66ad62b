"""The steps of a training, and the learning rate along them."""

from __future__ import annotations

import math

from .recipe import Training


def steps_per_epoch(images: int, size: int) -> int:
    """How many batches of ``size`` these are; a single image that is left joins the batch before it."""
    whole, left = divmod(images, size)
    return max(whole + (left > 1), 1)


def total_steps(spec: Training, steps_per_epoch: int) -> int:
    """Steps of the whole training: at least one."""
    return max(1, round(spec.epochs * steps_per_epoch))


def rate_share(spec: Training, step: int, steps_per_epoch: int) -> float:
    """The share of its peak that the learning rate has in ``step``, which counts from 0."""
    steps = total_steps(spec, steps_per_epoch)
    rise = spec.warm_up if isinstance(spec.warm_up, int) else max(1, round(spec.warm_up * steps))
    if step < rise:
        return (step + 1) / rise
    if spec.schedule == "constant":
        return 1.0
    if spec.schedule == "steps":
        epoch = step // steps_per_epoch
        return float(spec.decay ** sum(epoch >= milestone for milestone in spec.milestones))
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))
