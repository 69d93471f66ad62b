"""What a run offers to a method, without a run: a narrow model and noise as training images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from negmerge.compute import CPU
from negmerge.data.examples import Examples
from negmerge.data.image_set import ImageSet
from negmerge.methods.interface import Checkpoint, Context
from negmerge.models.small_cnn import SmallCNN
from negmerge.recipe import Training
from negmerge.run_folder import RunFolder

CLASSES = 3


def build() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4, channels=1, classes=CLASSES, mean=[0.0], std=[1.0])


def training_examples(part: str) -> tuple[Examples, ...]:
    """Ten images to be forgotten, forty to be retained."""
    count = {"forget": 10, "retain": 40}[part]
    return (noise(count),)


def noise(count: int) -> Examples:
    """Images of noise."""
    images = np.random.default_rng(count).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    names = tuple(f"kind {number}" for number in range(CLASSES))
    rows = np.arange(count)
    return Examples("noise", ImageSet("noise", images, rows % CLASSES, names), rows)


def context_in(folder: Path, base: Checkpoint, pool: Sequence[Checkpoint] = ()) -> Context:
    return Context(
        base=base,
        pool=pool,
        build_model=build,
        build_tuned=build,
        training=Training(epochs=2, learning_rate=0.01, batch_size=16),
        training_examples=training_examples,
        training_key="training key",
        compute=CPU,
        seed=5,
        folder=RunFolder(folder),
    )
