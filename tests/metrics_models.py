"""Outputs of constructed models: one that has memorised its training images, and one that has not."""

from __future__ import annotations

import numpy as np
import torch
from negmerge.metrics.outputs import Outputs

CLASSES = 10


def outputs(seed: int, count: int, *, sureness: float) -> Outputs:
    """A classifier whose logit of the label exceeds the others by ``sureness`` on average."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, size=count)
    logits = random.normal(size=(count, CLASSES))
    logits[np.arange(count), labels] += sureness
    return Outputs(torch.from_numpy(logits), torch.from_numpy(labels))


def by_hand(logits: list[list[float]], labels: list[int]) -> Outputs:
    return Outputs(torch.tensor(logits), torch.tensor(labels))


def with_confidence(values: list[float]) -> Outputs:
    """Two classes, label 0, of which each image has the given probability."""
    chances = torch.tensor(values, dtype=torch.float64)
    return Outputs(
        torch.stack([chances, 1 - chances], dim=1).log(), torch.zeros(len(values), dtype=torch.int64)
    )
