"""Training on a GPU goes on launching while the device works."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

pytest.importorskip("pydantic", reason="training is described by a recipe")

from negmerge.compute import Compute
from negmerge.data.examples import Examples
from negmerge.data.image_set import ImageSet
from negmerge.models.small_cnn import SmallCNN
from negmerge.peak_memory import PeakDeviceMemory
from negmerge.recipe import Training
from negmerge.train import train


def waits(batch_size: int) -> int:
    """How often two epochs of training wait for the device, with batches of that size."""
    images = np.random.default_rng(0).integers(0, 255, (64, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(64) % 2
    examples = [Examples("noise", ImageSet("noise", images, labels, ("even", "odd")), np.arange(64))]
    spec = Training(
        epochs=2,
        learning_rate=0.01,
        batch_size=batch_size,
        crop=1,
        resized_crop=0.5,
        flip=True,
        augmentation=1.0,
        randaugment_n=1,
    )
    model = SmallCNN(width=4, channels=3, classes=2, mean=[0.4] * 3, std=[0.3] * 3)
    compute = Compute(torch.device("cuda:0"), torch.bfloat16)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            train(model, examples, spec, seed=1, compute=compute)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(one.message) for one in caught)


def test_no_step_waits_for_the_device() -> None:
    assert 0 < waits(64) == waits(8)


def test_memory_of_the_device_is_measured() -> None:
    device = torch.device("cuda:0")
    held = torch.cuda.memory_allocated(device)
    memory = PeakDeviceMemory(device)
    tensor = torch.empty(32 << 20, dtype=torch.uint8, device=device)
    del tensor
    assert memory.nbytes == held + (32 << 20)
