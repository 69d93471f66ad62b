"""Training, validation and test split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import recipe
from ..errors import DataError, RecipeError
from .image_set import ImageSet, Official

#: Share of a data set without published splits.
_SHARE = 0.25
#: Of NegMerge's protocol and of SalUn's: the share of the training images that is the validation split. The
#: first takes no more images than ``_PAPER_MOST``.
_PROTOCOL_SHARE, _PAPER_MOST = 0.1, 5000
_PAPER_SEED, _SALUN_SEED = 0, 2


@dataclass(frozen=True, eq=False)
class Splits:
    """Rows of an image set, ascending, int64; no row is in two splits.

    forget_seed: what the protocol of these splits draws a random forget set with, if it says so.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    forget_seed: int | None = None


def split(images: ImageSet, spec: recipe.Data, seed: int) -> Splits:
    """The splits that a recipe asks for.

    Published test images are the test split. The validation split is the published one, or is drawn from
    the training images: by NegMerge's protocol, SalUn's, or a share of every class with ``seed``, unless the
    recipe has one for splits. A data
    set without published splits is divided by shares of every class.

    Raises :class:`~negmerge.errors.DataError` if a class is too small to be in every split,
    :class:`~negmerge.errors.RecipeError` if the recipe asks for what the data set does not have.
    """
    if spec.split_seed is not None:
        seed = spec.split_seed
    if images.official is None:
        if isinstance(spec.validation, str):
            raise RecipeError(
                f"data.validation {spec.validation!r} needs published splits, and {images.name} has none",
                remedy="Give a share, such as 0.25",
            )
        return _by_shares(images, spec, seed)
    if spec.test is not None:
        raise RecipeError(
            f"data.test does not apply to {images.name}, whose test images are published",
            remedy="Leave it out",
        )
    splits = _from_published(images, images.official, spec, seed)
    if not len(splits.validation):
        raise DataError(
            f"{len(images.official.train)} training images are too few for a validation split of a tenth",
            path=images.name,
            remedy="Give it a larger share, as data.validation: 0.25",
        )
    _require_classes(images, {"training": splits.train, "test": splits.test})
    return splits


def _from_published(images: ImageSet, official: Official, spec: recipe.Data, seed: int) -> Splits:
    if isinstance(spec.validation, float):
        train, validation = _stratified(images, official.train, spec.validation, seed)
        return Splits(np.sort(train), np.sort(validation), official.test)
    if spec.validation == "salun":
        return _salun(images, official, _SALUN_SEED if spec.split_seed is None else spec.split_seed)
    if official.validation is not None:
        return Splits(official.train, official.validation, official.test)
    return _paper(official, _PAPER_SEED if spec.split_seed is None else spec.split_seed)


def _paper(official: Official, seed: int) -> Splits:
    """NegMerge's protocol: a tenth of the training images, at most 5,000, drawn by torch."""
    import torch  # slow to import, and only this protocol is defined by its generator

    total = len(official.train)
    count = min(int(_PROTOCOL_SHARE * total), _PAPER_MOST)
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).numpy()
    train, validation = np.split(official.train[order], [total - count])
    return Splits(np.sort(train), np.sort(validation), official.test)


def _salun(images: ImageSet, official: Official, seed: int) -> Splits:
    """SalUn's protocol: a tenth of every class, drawn by numpy's old generator, class by class."""
    generator = np.random.RandomState(seed)
    labels = images.labels[official.train]
    drawn = []
    for label in range(images.classes):
        rows = official.train[labels == label]
        drawn.append(generator.choice(rows, int(_PROTOCOL_SHARE * len(rows)), replace=False))
    validation = np.sort(np.concatenate(drawn))
    train = np.setdiff1d(official.train, validation, assume_unique=True)
    # Forget sets are drawn with the seed before; it has to be one that the generator takes.
    return Splits(train, validation, official.test, forget_seed=(seed - 1) % 2**32)


def _by_shares(images: ImageSet, spec: recipe.Data, seed: int) -> Splits:
    validation_share = spec.validation if isinstance(spec.validation, float) else _SHARE
    test_share = _SHARE if spec.test is None else spec.test
    held_out = validation_share + test_share
    train, rest = _stratified(images, np.arange(len(images.labels)), held_out, seed)
    validation, test = _stratified(images, rest, test_share / held_out, seed)
    _require_classes(images, {"training": train, "validation": validation, "test": test})
    return Splits(np.sort(train), np.sort(validation), np.sort(test))


def _stratified(images: ImageSet, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``rows`` without a share of every class, and that share."""
    from sklearn.model_selection import train_test_split  # slow to import

    try:
        kept, taken = train_test_split(rows, test_size=share, random_state=seed, stratify=images.labels[rows])
    except ValueError as problem:
        raise DataError(f"cannot be split by class: {problem}", path=images.name) from problem
    return kept, taken


def _require_classes(images: ImageSet, parts: dict[str, np.ndarray]) -> None:
    for name, part in parts.items():
        present = np.unique(images.labels[part])
        if len(present) < images.classes:
            absent = [images.class_names[label] for label in np.setdiff1d(np.arange(images.classes), present)]
            raise DataError(
                f"the {name} split has no image of {', '.join(absent)}",
                path=images.name,
                remedy="Give it a larger share",
            )
