"""Random changes of training images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from ..devices import sent
from .randaugment import randaugment

if TYPE_CHECKING:
    from ..recipe import Training

#: At strength 1: turned by up to 15 degrees, scaled by up to 15 %, moved by up to an eighth of the side.
_TURN, _SCALE, _SHIFT = math.radians(15), 0.15, 0.125
#: Aspect ratios of the parts that ``random_resized_crop`` takes.
_RATIO = 3 / 4, 4 / 3


def augmented(images: torch.Tensor, spec: Training, generator: torch.Generator) -> torch.Tensor:
    """Every change that ``spec`` asks for, in the order that :class:`~negmerge.recipe.Training` gives.

    images: float ``[n, channels, height, width]`` in [0, 1], on any device; generator: the CPU's. Returns the
    same shape.
    """
    if spec.crop:
        images = random_crop(images, spec.crop, generator)
    if spec.resized_crop < 1:
        images = random_resized_crop(images, spec.resized_crop, generator)
    if spec.flip:
        images = random_flip(images, generator)
    images = random_affine(images, spec.augmentation, generator)
    if spec.randaugment_n:
        images = randaugment(images, spec.randaugment_n, spec.randaugment_m, generator)
    return images


def random_crop(images: torch.Tensor, padding: int, generator: torch.Generator) -> torch.Tensor:
    """Move every image by up to ``padding`` whole pixels each way; black moves in."""
    count, _, height, width = images.shape
    drawn = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator)
    offsets = sent(drawn, images.device)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    padded = functional.pad(images, (padding,) * 4)
    everyone = torch.arange(count, device=images.device)[:, None, None]
    cut = padded.permute(0, 2, 3, 1)[everyone, rows[:, :, None], columns[:, None, :]]
    return cut.permute(0, 3, 1, 2)


def random_flip(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Left and right change places in half of the images."""
    flipped = sent(torch.rand(len(images), generator=generator) < 0.5, images.device)
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def random_resized_crop(images: torch.Tensor, area: float, generator: torch.Generator) -> torch.Tensor:
    """A part of every image fills it: of a share of its area that is drawn evenly from ``area`` to 1, of an
    aspect ratio that is drawn evenly on a logarithmic scale from 3/4 to 4/3, and anywhere in the image.
    """
    share, ratio, right, down = torch.rand(4, len(images), generator=generator)
    share = area + (1 - area) * share
    low, high = (math.log(bound) for bound in _RATIO)
    ratio = torch.exp(low + (high - low) * ratio)
    width, height = (share * ratio).sqrt().clamp(max=1), (share / ratio).sqrt().clamp(max=1)
    nothing = torch.zeros_like(width)
    across = (width, nothing, (1 - width) * (2 * right - 1))
    along = (nothing, height, (1 - height) * (2 * down - 1))
    return affine(images, (across, along), padding="border")


def random_affine(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Turn, scale and move every image by its own amounts, each drawn evenly up to its bound × ``strength``.

    images: float ``[n, channels, height, width]``, where 0 is the background that moves in. Returns the same
    shape, resampled bilinearly; ``images`` itself at strength 0.
    """
    if strength == 0:
        return images
    turn, scale, right, down = strength * (2 * torch.rand(4, len(images), generator=generator) - 1)
    turn, scale = _TURN * turn, 1 + _SCALE * scale
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    return affine(images, ((cosine, -sine, 2 * _SHIFT * right), (sine, cosine, 2 * _SHIFT * down)))


Row = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def affine(images: torch.Tensor, rows: tuple[Row, Row], *, padding: str = "zeros") -> torch.Tensor:
    """Every image resampled bilinearly where its own 2×3 matrix leads, in units of half a side."""
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(images.dtype)
    grid = functional.affine_grid(sent(matrices, images.device), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)
