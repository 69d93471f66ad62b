"""What happens to pixels inside a model before its network sees them.

It is part of the model, so that a checkpoint and an image are all that inference needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class Normalise(nn.Module):
    """(pixel − mean) / std per channel. Both are buffers: never trained, and stored with the model."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, stored: bool = True) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=stored)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=stored)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - self.mean) / self.std


class ImageInput(nn.Module):
    """Float images ``[n, 1 or 3, height, width]`` in [0, 1] become ``[n, 3, side, side]``, normalised.

    side: ``None`` leaves the size. stored: whether mean and deviation are in the state dict.
    """

    def __init__(
        self, side: int | None, mean: Sequence[float], std: Sequence[float], *, stored: bool = True
    ) -> None:
        super().__init__()
        self.side = side
        self.normalise = Normalise(_rgb(mean), _rgb(std), stored=stored)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.side is not None:
            images = scaled(images, self.side)
        return self.normalise(images.expand(-1, 3, -1, -1))  # type: ignore[no-any-return]


def scaled(images: torch.Tensor, side: int) -> torch.Tensor:
    """Square images at another size, by the bicubic filter of Pillow, which CLIP's preprocessing uses."""
    if images.shape[-2:] == (side, side):
        return images
    resized = functional.interpolate(
        images, size=(side, side), mode="bicubic", antialias=True, align_corners=False
    )
    return resized.clamp(0, 1)


def _rgb(values: Sequence[float]) -> list[float]:
    return list(values) if len(values) == 3 else [values[0]] * 3
