from __future__ import annotations

import numpy as np
import pytest
from negmerge.data.image_set import ImageSet
from negmerge.data.selection import Selection, select
from negmerge.data.splits import Splits, split
from negmerge.errors import DataError
from negmerge.recipe import Data, Forget

NAMES = ("cat", "dog", "owl")
IMAGES = ImageSet("pets", np.zeros((90, 1, 1, 1), dtype=np.uint8), np.arange(90) % 3, NAMES)
SPLITS = split(IMAGES, Data(name="digits", validation=0.2, test=0.2), seed=0)


def chosen(**forget: object) -> Selection:
    return select(Forget(**forget), IMAGES, SPLITS, seed=3)


def parts(selection: Selection, splits: Splits):
    yield selection.train, splits.train
    yield selection.validation, splits.validation
    yield selection.test, splits.test


@pytest.mark.parametrize("classes", [["owl"], [2], ["owl", 2]])
def test_classes_are_forgotten_in_every_split(classes):
    selection = chosen(classes=classes)
    for part, rows in parts(selection, SPLITS):
        np.testing.assert_array_equal(np.union1d(part.forget, part.retain), rows)
        assert set(IMAGES.labels[part.forget]) == {2}
        assert set(IMAGES.labels[part.retain]) == {0, 1}
    assert selection.description == "class owl of pets"


def test_several_classes():
    selection = chosen(classes=["dog", "cat"])
    assert set(IMAGES.labels[selection.train.forget]) == {0, 1}
    assert selection.description == "classes cat, dog of pets"


def test_a_fraction_is_of_the_training_split_and_drawn_with_the_seed():
    selection = chosen(fraction=0.25)
    assert len(selection.train.forget) == round(0.25 * len(SPLITS.train))
    np.testing.assert_array_equal(np.union1d(selection.train.forget, selection.train.retain), SPLITS.train)
    np.testing.assert_array_equal(chosen(fraction=0.25).train.forget, selection.train.forget)
    other = select(Forget(fraction=0.25), IMAGES, SPLITS, seed=4)
    assert not np.array_equal(other.train.forget, selection.train.forget)


def test_single_images_are_measured_themselves_and_whole_splits_retained():
    wanted = SPLITS.train[[4, 1, 7]]
    selection = chosen(indices=wanted.tolist())
    for part in (selection.train, selection.validation, selection.test):
        np.testing.assert_array_equal(part.forget, np.sort(wanted))
    np.testing.assert_array_equal(selection.validation.retain, SPLITS.validation)
    np.testing.assert_array_equal(selection.test.retain, SPLITS.test)
    assert not set(wanted) & set(selection.train.retain)


@pytest.mark.parametrize(
    ("forget", "says"),
    [
        ({"classes": ["dgo"]}, "no class is called 'dgo'; did you mean 'dog'"),
        ({"classes": [3]}, "no class has number 3; they count from 0 to 2"),
        ({"classes": [-1]}, "no class has number -1"),
        ({"classes": [0, 1, 2]}, "leaves nothing to retain"),
        ({"fraction": 0.001}, "leaves no training image to forget"),
        ({"fraction": 0.999}, "leaves no training image to retain"),
        ({"indices": SPLITS.train.tolist()}, "leaves no training image to retain"),
        (
            {"indices": [int(SPLITS.train[0]), int(SPLITS.test[0])]},
            f"index {SPLITS.test[0]} not in the training split",
        ),
        (
            {"indices": list(range(100, 120))},
            "index 100, 101, 102, 103, 104 and others not in the training split",
        ),
    ],
)
def test_what_cannot_be_forgotten_is_refused(forget, says):
    with pytest.raises(DataError, match=says) as problem:
        chosen(**forget)
    assert str(problem.value).startswith("pets: ")
