"""What is to be forgotten, and what to be retained, of every split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import recipe
from ..errors import DataError
from ..registry import suggestion
from .divided import DataSet
from .image_set import ImageSet
from .splits import Splits


@dataclass(frozen=True, eq=False)
class ForgetRetain:
    """Rows of an image set, ascending. :class:`~negmerge.errors.DataError` if a row is in both."""

    forget: np.ndarray
    retain: np.ndarray

    def __post_init__(self) -> None:
        if shared := len(np.intersect1d(self.forget, self.retain)):
            same = shared == len(self.forget) == len(self.retain)
            what = "are the same" if same else f"share {shared:,} images"
            raise DataError(f"the forget set and the retain set {what}")


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


def select(
    forget: recipe.Forget, images: ImageSet, splits: Splits, seed: int, *, label: str | None = None
) -> Selection:
    """Divide every split as the recipe says, whose index file was read before.

    label: what the images are called, if not by their name. seed: of a random fraction, unless the protocol
    of the splits has a rule of its own. Raises :class:`~negmerge.errors.DataError` for a class that does not
    exist, an image that is not in the training split, or a choice that leaves nothing to forget or to retain.
    """
    images = replace(images, name=label or images.name)
    if forget.classes is not None:
        return _classes(forget.classes, images, splits)
    if forget.fraction is not None:
        count = round(forget.fraction * len(splits.train))
        chosen = _drawn(splits, count, seed)
        description = f"{100 * forget.fraction:g} % of the training images of {images.name}, at random"
    else:
        chosen = _indices(forget.indices or [], images, splits)
        description = f"{len(chosen)} chosen training images of {images.name}"
    return _examples(np.sort(chosen), images, splits, description)


def require_other_data(forget: DataSet, retain: Sequence[DataSet]) -> None:
    """Raise :class:`~negmerge.errors.DataError` if the data set to forget is also one to retain.

    Where whole data sets are forgotten and retained, they are compared by their images, not by their names;
    images in files by the names and sizes of these.
    """
    for other in retain:
        if other.images.sha256 == forget.images.sha256:
            raise DataError(
                f"the forget set and the retain set are the same: {forget.label} and {other.label}",
                remedy="Retain another data set",
            )


def _drawn(splits: Splits, count: int, seed: int) -> np.ndarray:
    if splits.forget_seed is None:
        return np.random.default_rng(seed).choice(splits.train, count, replace=False)
    return np.random.RandomState(splits.forget_seed).choice(splits.train, count, replace=False)


def _classes(chosen: list[int | str], images: ImageSet, splits: Splits) -> Selection:
    labels = sorted({_label(name, images) for name in chosen})
    if len(labels) == images.classes:
        raise DataError("the forget set has every class, which leaves nothing to retain", path=images.name)

    names = ", ".join(images.class_names[label] for label in labels)
    noun = "class" if len(labels) == 1 else "classes"

    def divide(part: str, rows: np.ndarray) -> ForgetRetain:
        forgotten = np.isin(images.labels[rows], labels)
        if not forgotten.any() or forgotten.all():
            raise DataError(
                f"the {part} split has {'no' if not forgotten.any() else 'only'} images of {noun} {names}",
                path=images.name,
                remedy="Choose other classes, or another validation split",
            )
        return ForgetRetain(rows[forgotten], rows[~forgotten])

    return Selection(
        divide("training", splits.train),
        divide("validation", splits.validation),
        divide("test", splits.test),
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
