"""A library's network as a classifier of images as data sets have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import RecipeError
from .image_input import ImageInput

if TYPE_CHECKING:
    from ..recipe import Model


class Classifier(nn.Module):
    """``network`` sees what ``input`` makes of the images, and returns logits."""

    def __init__(self, input: ImageInput, network: nn.Module) -> None:
        super().__init__()
        self.input = input
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(self.input(images))
        return logits


def refuse(spec: Model, *options: str) -> None:
    """Raise :class:`~negmerge.errors.RecipeError` if a recipe gives one of ``options`` nevertheless."""
    for option in options:
        if getattr(spec, option) is not None:
            raise RecipeError(f"model.{option} does not apply to {spec.name}", remedy="Leave it out")
