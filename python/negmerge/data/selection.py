"""What is to be forgotten, and what to be retained, of every split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import recipe
from ..errors import DataError
from ..registry import suggestion
from .image_set import ImageSet
from .splits import Splits


@dataclass(frozen=True, eq=False)
class ForgetRetain:
    """Rows of an image set, ascending."""

    forget: np.ndarray
    retain: np.ndarray


@dataclass(frozen=True, eq=False)
class Selection:
    """Forget and retain rows of every split.

    Classes are forgotten as such: forgetting is measured on images of theirs that no model was trained on.
    Single images are forgotten as training examples: validation and test measure forgetting on these very
    images, and retention on the whole split.
    """

    train: ForgetRetain
    validation: ForgetRetain
    test: ForgetRetain
    description: str


def select(forget: recipe.Forget, images: ImageSet, splits: Splits, seed: int) -> Selection:
    """Divide every split as the recipe says.

    Raises :class:`~negmerge.errors.DataError` for a class that does not exist, an image that is not in the
    training split, or a choice that leaves nothing to forget or to retain.
    """
    if forget.classes is not None:
        return _classes(forget.classes, images, splits)
    if forget.fraction is not None:
        count = round(forget.fraction * len(splits.train))
        chosen = np.random.default_rng(seed).choice(splits.train, count, replace=False)
        description = f"{100 * forget.fraction:g} % of the training images of {images.name}, at random"
    else:
        chosen = _indices(forget.indices or [], images, splits)
        description = f"{len(chosen)} chosen training images of {images.name}"
    return _examples(np.sort(chosen), images, splits, description)


def _classes(chosen: list[int | str], images: ImageSet, splits: Splits) -> Selection:
    labels = sorted({_label(name, images) for name in chosen})
    if len(labels) == images.classes:
        raise DataError("the forget set has every class, which leaves nothing to retain", path=images.name)

    def divide(rows: np.ndarray) -> ForgetRetain:
        forgotten = np.isin(images.labels[rows], labels)
        return ForgetRetain(rows[forgotten], rows[~forgotten])

    names = ", ".join(images.class_names[label] for label in labels)
    noun = "class" if len(labels) == 1 else "classes"
    return Selection(
        divide(splits.train),
        divide(splits.validation),
        divide(splits.test),
        f"{noun} {names} of {images.name}",
    )


def _label(name: int | str, images: ImageSet) -> int:
    if isinstance(name, str):
        if name not in images.class_names:
            raise DataError(
                f"no class is called {name!r}{suggestion(name, images.class_names)}", path=images.name
            )
        return images.class_names.index(name)
    if not 0 <= name < images.classes:
        raise DataError(
            f"no class has number {name}; they count from 0 to {images.classes - 1}", path=images.name
        )
    return name


def _indices(indices: list[int], images: ImageSet, splits: Splits) -> np.ndarray:
    chosen = np.unique(np.array(indices, dtype=np.int64))
    if outside := np.setdiff1d(chosen, splits.train).tolist():
        listed = ", ".join(map(str, outside[:5])) + (" and others" if len(outside) > 5 else "")
        raise DataError(
            f"forget index {listed} not in the training split",
            path=images.name,
            remedy="Only what a model was trained on can be forgotten; splits depend on the recipe's seed",
        )
    return chosen


def _examples(chosen: np.ndarray, images: ImageSet, splits: Splits, description: str) -> Selection:
    retained = np.setdiff1d(splits.train, chosen)
    if not chosen.size or not retained.size:
        what = "retain" if chosen.size else "forget"
        raise DataError(f"the forget set leaves no training image to {what}", path=images.name)
    return Selection(
        ForgetRetain(chosen, retained),
        ForgetRetain(chosen, splits.validation),
        ForgetRetain(chosen, splits.test),
        description,
    )
