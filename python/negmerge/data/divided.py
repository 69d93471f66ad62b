"""A data set of a recipe: loaded, and divided into splits."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .. import recipe
from ..keys import content_key
from . import DATA_SETS
from .image_set import ImageSet
from .splits import Splits, split


@dataclass(frozen=True, eq=False)
class DataSet:
    """label: what it is called in the run."""

    label: str
    images: ImageSet
    splits: Splits

    @classmethod
    def load(cls, spec: recipe.Data, seed: int) -> DataSet:
        """seed: of splits that are drawn as shares. Raises :class:`~negmerge.errors.DataError`."""
        folder = None if spec.folder is None else Path(spec.folder).expanduser()
        images = DATA_SETS.get(spec.name).load(folder, spec.image_size)
        return cls(spec.called, images, split(images, spec, seed))

    @property
    def sha256(self) -> str:
        """Checksum of the images and their labels."""
        return self.images.sha256

    @cached_property
    def key(self) -> str:
        """Content key of the images, at the size at which they are read, and of the splits."""
        digest = hashlib.sha256()
        for rows in (self.splits.train, self.splits.validation, self.splits.test):
            digest.update(f"{len(rows)} ".encode() + rows.astype("<i8").tobytes())
        return content_key(self.images.name, list(self.images.images.shape), self.sha256, digest.hexdigest())

    @cached_property
    def pixel_statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel over the training split, in units of full white."""
        return self.images.pixel_statistics(self.splits.train)
