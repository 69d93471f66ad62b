from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from negmerge.data.image_set import ImageSet, Official
from negmerge.data.splits import split
from negmerge.errors import DataError
from negmerge.recipe import Data


def image_set(counts: list[int]) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((len(labels), 1, 1, 1), dtype=np.uint8)
    return ImageSet("things", images, labels, tuple(f"class {label}" for label in range(len(counts))))


def shares(validation: float, test: float) -> Data:
    return Data(name="digits", validation=validation, test=test)


def test_splits_are_disjoint_complete_and_stratified():
    images = image_set([40, 80, 120])
    splits = split(images, shares(0.2, 0.3), seed=1)
    together = np.concatenate([splits.train, splits.validation, splits.test])
    np.testing.assert_array_equal(np.sort(together), np.arange(240))
    for rows, share in ((splits.train, 0.5), (splits.validation, 0.2), (splits.test, 0.3)):
        assert np.all(np.diff(rows) > 0)
        np.testing.assert_allclose(np.bincount(images.labels[rows]), share * np.array([40, 80, 120]), atol=1)


def test_splits_depend_on_the_seed_alone():
    images = image_set([30, 30])
    first, again, other = (split(images, shares(0.25, 0.25), seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.test, again.test)
    np.testing.assert_array_equal(first.validation, again.validation)
    assert not np.array_equal(first.test, other.test)


@pytest.mark.parametrize("protocol", ["paper", "salun"])
def test_too_few_images_for_a_tenth_are_an_error(protocol):
    images = image_set([4, 4])
    official = Official(train=np.array([0, 1, 2, 4, 5, 6]), test=np.array([3, 7]))
    with pytest.raises(DataError, match="6 training images are too few for a validation split of a tenth"):
        split(replace(images, official=official), Data(name="digits", validation=protocol), seed=0)


@pytest.mark.parametrize(
    ("counts", "share", "says"),
    [
        ([50, 1], 0.25, "cannot be split by class"),
        ([400, 4], 0.05, "split has no image of class 1"),
    ],
)
def test_a_class_too_small_for_every_split_is_an_error(counts, share, says):
    with pytest.raises(DataError, match=says) as problem:
        split(image_set(counts), shares(share, share), seed=0)
    assert str(problem.value).startswith("things: ")
