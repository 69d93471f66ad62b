"""Training, validation and test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from .. import recipe
from ..errors import DataError
from .image_set import ImageSet


@dataclass(frozen=True, eq=False)
class Splits:
    """Rows of an image set, ascending, int64; no row is in two splits."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(images: ImageSet, shares: recipe.Data, seed: int) -> Splits:
    """Draw splits in which every class has its share, up to rounding.

    Raises :class:`~negmerge.errors.DataError` if a class is too small to be in every split.
    """
    rows = np.arange(len(images.labels))
    held_out = shares.validation + shares.test
    try:
        train, rest = train_test_split(rows, test_size=held_out, random_state=seed, stratify=images.labels)
        validation, test = train_test_split(
            rest, test_size=shares.test / held_out, random_state=seed, stratify=images.labels[rest]
        )
    except ValueError as problem:
        raise DataError(f"cannot be split by class: {problem}", path=images.name) from problem
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        present = np.unique(images.labels[part])
        if len(present) < images.classes:
            absent = [images.class_names[label] for label in np.setdiff1d(np.arange(images.classes), present)]
            raise DataError(
                f"the {name} split has no image of {', '.join(absent)}",
                path=images.name,
                remedy="Give it a larger share",
            )
    return Splits(np.sort(train), np.sort(validation), np.sort(test))
