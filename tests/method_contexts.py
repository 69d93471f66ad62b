"""What a run offers to a method, without a run: a narrow model and noise as training images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from negmerge.methods.interface import Checkpoint, Context
from negmerge.models.small_cnn import SmallCNN
from negmerge.recipe import Training
from negmerge.run_folder import RunFolder

CLASSES = 3


def build() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4, channels=1, classes=CLASSES, mean=[0.0], std=[1.0])


def training_images(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ten images to be forgotten, forty to be retained."""
    count = {"forget": 10, "retain": 40}[part]
    random = torch.Generator().manual_seed(count)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=random, dtype=torch.uint8)
    return images, torch.arange(count) % CLASSES


def context_in(folder: Path, base: Checkpoint, pool: Sequence[Checkpoint] = ()) -> Context:
    return Context(
        base=base,
        pool=pool,
        build_model=build,
        training=Training(epochs=2, learning_rate=0.01, batch_size=16),
        training_images=training_images,
        training_key="training key",
        seed=5,
        folder=RunFolder(folder),
    )
