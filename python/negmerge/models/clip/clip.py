"""A model of images and text, as open_clip builds them, and what its inputs have to look like."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..image_input import ImageInput


@dataclass(frozen=True, eq=False)
class Clip:
    """model: open_clip's, with ``encode_image``, ``encode_text``, ``visual`` and ``logit_scale``.

    tokenize: texts to int64 ``[n, context]``. side, mean, std: of the images that it takes.
    """

    model: Any
    tokenize: Callable[[list[str]], torch.Tensor]
    side: int
    mean: Sequence[float]
    std: Sequence[float]

    def image_input(self) -> ImageInput:
        """What makes images of any size and colour what the image tower takes."""
        return ImageInput(self.side, self.mean, self.std, stored=False)

    def image_tower(self) -> ImageTower:
        """A copy of the image tower."""
        return ImageTower(self.image_input(), copy.deepcopy(self.model.visual))


class ImageTower(nn.Module):
    """Float images ``[n, channels, height, width]`` in [0, 1] become embeddings ``[n, d]`` of any length.

    Its state dict has the names that the tower has in the whole model, ``visual.…``.
    """

    def __init__(self, input: ImageInput, visual: nn.Module) -> None:
        super().__init__()
        self.input = input
        self.visual = visual

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.visual(self.input(images))
        return embeddings
