"""What a run is about: the images, what is to be forgotten of them, the architecture, the evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .data import DATA_SETS
from .data.image_set import ImageSet
from .data.index_file import read_index_file
from .data.selection import Selection, select
from .data.splits import Splits, split
from .evaluate import Evaluation
from .keys import content_key, derived_seed
from .methods import REFERENCE
from .models import MODELS
from .recipe import Recipe


@dataclass(frozen=True, eq=False)
class Task:
    """The setting of a run, made from its recipe.

    recipe: with the indices of its index file in place of that. data_sha256: checksum of the data set.
    """

    recipe: Recipe
    images: ImageSet
    data_sha256: str
    splits: Splits
    selection: Selection
    evaluation: Evaluation

    @classmethod
    def prepare(cls, recipe: Recipe) -> Task:
        """Load the data and divide it; :class:`~negmerge.errors.DataError` says what is wrong with it."""
        folder = None if recipe.data.folder is None else Path(recipe.data.folder).expanduser()
        images = DATA_SETS.get(recipe.data.name).load(folder, recipe.data.image_size)
        recipe = recipe.model_copy(update={"forget": read_index_file(recipe.forget)})
        splits = split(images, recipe.data, derived_seed("split", recipe.seed))
        selection = select(recipe.forget, images, splits, derived_seed("forget", recipe.seed))
        return cls(
            recipe=recipe,
            images=images,
            data_sha256=images.sha256(),
            splits=splits,
            selection=selection,
            evaluation=Evaluation(images, selection),
        )

    @property
    def base_key(self) -> str:
        """Content key of the base: of everything that training it depends on."""
        recipe = self.recipe
        return content_key(
            "base", recipe.data, self.data_sha256, recipe.model, recipe.training, recipe.seed, recipe.threads
        )

    @property
    def compares_with_reference(self) -> bool:
        """Whether the run has the reference method, and so the measures that compare models with it."""
        return REFERENCE in self.recipe.methods

    @property
    def training_key(self) -> str:
        """Content key of the training images, how they are divided, and the training of the base."""
        return content_key(self.base_key, self.recipe.forget)

    def build_model(self) -> nn.Module:
        """The architecture with its initial weights, the same every time."""
        mean, std = self.images.pixel_statistics(self.splits.train)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed("weights", self.recipe.seed))
            return MODELS.get(self.recipe.model.name)(
                width=self.recipe.model.width,
                channels=self.images.channels,
                classes=self.images.classes,
                mean=mean,
                std=std,
            )

    def tensors(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (uint8) and labels at ``rows``."""
        return torch.from_numpy(self.images.images[rows]), torch.from_numpy(self.images.labels[rows])
