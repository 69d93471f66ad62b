"""Top-1 accuracy."""

from __future__ import annotations

import torch


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the images whose largest logit is that of their label.

    logits: ``[n, classes]``. labels: integers ``[n]``. n ≥ 1. An image with a NaN among its logits counts as
    wrong.
    """
    right = (logits.argmax(dim=1) == labels) & ~logits.isnan().any(dim=1)
    return int(right.sum()) / len(labels)
