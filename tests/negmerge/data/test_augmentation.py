from __future__ import annotations

import pytest
import torch
from negmerge.data.augmentation import random_affine

IMAGES = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def augmented(strength: float, seed: int = 0, images: torch.Tensor = IMAGES) -> torch.Tensor:
    return random_affine(images, strength, torch.Generator().manual_seed(seed))


def test_strength_zero_changes_nothing():
    assert augmented(0.0) is IMAGES


def test_the_generator_decides():
    assert torch.equal(augmented(1.0), augmented(1.0))
    assert not torch.equal(augmented(1.0), augmented(1.0, seed=1))


def test_every_image_gets_its_own_change_and_values_stay_in_range():
    same = IMAGES[:1].expand(64, 1, 8, 8).contiguous()
    changed = augmented(1.0, images=same)
    assert changed.shape == same.shape
    assert len({image.numpy().tobytes() for image in changed}) == 64
    assert 0 <= changed.min() <= changed.max() <= 1


def test_a_stronger_change_moves_pixels_further():
    mean_change = [(augmented(strength) - IMAGES).abs().mean().item() for strength in (0.1, 0.5, 2.0)]
    assert mean_change == sorted(mean_change)
    assert mean_change[0] > 0


def test_shift_is_bounded_by_an_eighth_of_the_side():
    dot = torch.zeros(200, 1, 33, 33)
    dot[:, :, 16, 16] = 1
    changed = augmented(1.0, images=dot)[:, 0]
    weight = changed.sum(dim=(1, 2))
    places = torch.arange(33.0) - 16
    centre = (changed.sum(dim=1) * places).sum(dim=1) / weight
    assert centre.abs().max() <= 33 / 8 / 0.85 + 0.5
    assert centre.abs().max() == pytest.approx(33 / 8, rel=0.35)
