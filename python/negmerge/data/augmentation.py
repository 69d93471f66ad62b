"""Random changes of training images."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

#: At strength 1: turned by up to 15 degrees, scaled by up to 15 %, moved by up to an eighth of the side.
_TURN, _SCALE, _SHIFT = math.radians(15), 0.15, 0.125


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
    rows = (cosine, -sine, 2 * _SHIFT * right), (sine, cosine, 2 * _SHIFT * down)
    transforms = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(images.device)
    grid = functional.affine_grid(transforms, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)
