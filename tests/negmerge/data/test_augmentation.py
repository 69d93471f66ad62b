from __future__ import annotations

import pytest
import torch
from negmerge.data import augmentation
from negmerge.data.augmentation import random_affine, random_crop, random_flip, random_resized_crop
from negmerge.recipe import Training

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


def windows(image: torch.Tensor, padding: int) -> set[bytes]:
    """Every part of the padded image that has its size."""
    side = image.shape[-1]
    padded = torch.nn.functional.pad(image, (padding,) * 4)
    return {
        padded[:, down : down + side, right : right + side].numpy().tobytes()
        for down in range(2 * padding + 1)
        for right in range(2 * padding + 1)
    }


def test_crops_are_parts_of_the_padded_image_and_all_occur():
    image = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(0))
    cropped = random_crop(image.expand(600, -1, -1, -1), 2, torch.Generator().manual_seed(0))
    assert {one.numpy().tobytes() for one in cropped.contiguous()} == windows(image, 2)


def test_half_of_the_images_are_mirrored():
    images = IMAGES.repeat(10, 1, 1, 1)
    flipped = random_flip(images, torch.Generator().manual_seed(0))
    mirrored = torch.tensor([torch.equal(one, two.flip(2)) for one, two in zip(flipped, images, strict=True)])
    same = torch.tensor([torch.equal(one, two) for one, two in zip(flipped, images, strict=True)])
    assert torch.equal(mirrored, ~same)
    assert 0.4 < mirrored.float().mean() < 0.6


def test_resized_crops_show_parts_of_at_least_the_area():
    # A ramp in each direction tells where in the image a pixel comes from.
    places = (torch.arange(64) + 0.5) / 64
    ramp = torch.stack([places.expand(64, 64), places[:, None].expand(64, 64)]).expand(300, -1, -1, -1)
    cropped = random_resized_crop(ramp, 0.25, torch.Generator().manual_seed(0))
    width = (cropped[:, 0, 0, -1] - cropped[:, 0, 0, 0]) * 64 / 63
    height = (cropped[:, 1, -1, 0] - cropped[:, 1, 0, 0]) * 64 / 63
    area, ratio = width * height, width / height
    assert 0.2 < area.min() < 0.35
    assert 0.85 < area.max() <= 1.01
    assert 0.7 < ratio.min() < ratio.max() < 1.42
    assert cropped.min() >= 0
    assert cropped.max() <= 1


@pytest.mark.parametrize(
    ("change", "called"),
    [
        ({"crop": 2}, "random_crop"),
        ({"resized_crop": 0.5}, "random_resized_crop"),
        ({"flip": True}, "random_flip"),
        ({"randaugment_n": 1}, "randaugment"),
        ({}, None),
    ],
)
def test_changes_are_made_when_they_are_asked_for(monkeypatch, change, called):
    made = []
    for name in ("random_crop", "random_resized_crop", "random_flip", "randaugment"):
        monkeypatch.setattr(augmentation, name, lambda images, *words, name=name: made.append(name) or images)
    spec = Training(epochs=1, learning_rate=1.0, **change)
    assert augmentation.augmented(IMAGES, spec, torch.Generator()) is IMAGES
    assert made == [called] * bool(called)
