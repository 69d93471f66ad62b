"""Published splits, NegMerge's and SalUn's protocols, and forget sets on them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from negmerge.data.divided import DataSet
from negmerge.data.image_set import ImageSet, Official
from negmerge.data.index_file import read_index_file
from negmerge.data.selection import ForgetRetain, require_other_data, select
from negmerge.data.splits import split
from negmerge.errors import DataError, RecipeError
from negmerge.recipe import Data, Forget


def image_set(train: int, test: int, classes: int = 10, validation: int | None = None) -> ImageSet:
    total = train + test + (validation or 0)
    rows = np.arange(total)
    held = None if validation is None else rows[train + test :]
    return ImageSet(
        "things",
        np.zeros((total, 1, 1, 1), dtype=np.uint8),
        rows % classes,
        tuple(map(str, range(classes))),
        Official(rows[:train], rows[train : train + test], held),
    )


def spec(**keys: object) -> Data:
    return Data(name="cifar10", **keys)


def test_the_papers_validation_split_is_the_released_codes():
    images = image_set(60_000, 10_000)
    splits = split(images, spec(), seed=123)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (55_000, 5_000, 10_000)
    # The released code guards its split of MNIST by its first training image.
    assert 36_044 in splits.train
    import torch

    drawn = torch.utils.data.random_split(
        range(60_000), [55_000, 5_000], generator=torch.Generator().manual_seed(0)
    )
    assert drawn[0].indices[0] == 36_044
    np.testing.assert_array_equal(splits.validation, np.sort(drawn[1].indices))


@pytest.mark.parametrize(
    ("train", "validation"), [(8144, 814), (3760, 376), (26640, 2664), (18900, 1890), (19850, 1985)]
)
def test_the_papers_validation_splits_have_its_sizes(train, validation):
    assert len(split(image_set(train, 100), spec(), seed=0).validation) == validation


@given(
    train=st.integers(300, 600),
    seed=st.integers(0, 2**32 - 1),
    validation=st.sampled_from(["paper", "salun", 0.3]),
)
def test_validation_comes_from_the_training_images_alone(train, seed, validation):
    images = image_set(train, 10)
    seeds = {} if validation == 0.3 else {"split_seed": seed}
    splits = split(images, spec(validation=validation, **seeds), seed=seed)
    together = np.concatenate([splits.train, splits.validation])
    np.testing.assert_array_equal(np.sort(together), images.official.train)
    np.testing.assert_array_equal(splits.test, images.official.test)
    for rows in (splits.train, splits.validation):
        assert np.all(np.diff(rows) > 0)


def test_salun_takes_a_tenth_of_every_class_and_draws_forget_sets_with_the_seed_before():
    images = image_set(50_000, 10_000)
    splits = split(images, spec(validation="salun"), seed=99)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (45_000, 5_000, 10_000)
    assert np.bincount(images.labels[splits.validation]).tolist() == [500] * 10
    # Class 0 is drawn first, by numpy's old generator with seed 2.
    first = np.random.RandomState(2).choice(np.arange(0, 50_000, 10), 500, replace=False)
    np.testing.assert_array_equal(splits.validation[images.labels[splits.validation] == 0], np.sort(first))
    forgotten = select(Forget(fraction=0.1), images, splits, seed=7).train.forget
    positions = np.random.RandomState(1).choice(45_000, 4_500, replace=False)
    np.testing.assert_array_equal(forgotten, np.sort(splits.train[positions]))


def test_another_split_seed_is_another_split():
    images = image_set(1000, 10)
    for validation in ("paper", "salun"):
        first, other = (split(images, spec(validation=validation, split_seed=seed), 0) for seed in (3, 4))
        assert not np.array_equal(first.validation, other.validation)


def test_a_published_validation_split_is_used():
    images = image_set(100, 20, validation=30)
    np.testing.assert_array_equal(split(images, spec(), 0).validation, images.official.validation)


def test_what_a_data_set_does_not_have_cannot_be_asked_for():
    undivided = ImageSet("things", np.zeros((20, 1, 1, 1), np.uint8), np.arange(20) % 2, ("a", "b"))
    with pytest.raises(RecipeError, match="'salun' needs published splits, and things has none"):
        split(undivided, spec(validation="salun"), 0)
    with pytest.raises(RecipeError, match=r"data\.test does not apply to things"):
        split(image_set(100, 20), spec(test=0.2), 0)


@pytest.mark.parametrize("wrong", ["papr", 0, 1.0, -0.1, True, [0.1]])
def test_other_validation_splits_are_refused(wrong):
    with pytest.raises(ValueError, match="neither a share between 0 and 1 nor paper nor salun"):
        spec(validation=wrong)


def test_shares_may_have_a_seed_of_their_own():
    images = image_set(1000, 10)
    drawn = [split(images, spec(validation=0.1, split_seed=1), seed).validation for seed in (3, 4)]
    np.testing.assert_array_equal(*drawn)
    other = split(images, spec(validation=0.1, split_seed=2), 3).validation
    assert not np.array_equal(drawn[0], other)


def test_a_class_that_a_split_has_not_cannot_be_forgotten():
    images = image_set(40, 20)
    splits = split(images, spec(), 0)  # four images of ten classes
    absent = next(label for label in range(10) if label not in images.labels[splits.validation])
    with pytest.raises(DataError, match=f"the validation split has no images of class {absent}"):
        select(Forget(classes=[absent]), images, splits, 0)


def test_forget_and_retain_set_have_nothing_in_common():
    with pytest.raises(DataError, match="the forget set and the retain set are the same"):
        ForgetRetain(np.arange(3), np.arange(3))
    with pytest.raises(DataError, match="share 1 images"):
        ForgetRetain(np.array([1, 2]), np.array([2, 3]))


def test_a_data_set_is_not_forgotten_and_retained():
    first, other, same = (
        DataSet(label, images, split(images, Data(name="digits"), 0))
        for label, images in (
            ("mine", image_set(20, 10)),
            ("other", image_set(30, 10)),
            ("again", image_set(20, 10)),
        )
    )
    require_other_data(first, [other])
    with pytest.raises(DataError, match="are the same: mine and again"):
        require_other_data(first, [other, same])


def test_index_files(tmp_path):
    np.save(tmp_path / "a.npy", np.array([3, 1]))
    (tmp_path / "a.txt").write_text("3\n1\n")
    for name in ("a.npy", "a.txt"):
        assert read_index_file(Forget(index_file=str(tmp_path / name))) == Forget(indices=[3, 1])
    assert read_index_file(Forget(fraction=0.1)) == Forget(fraction=0.1)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        ("one two", "is no list of whole numbers"),
        ("1.5", "is no list of whole numbers"),
        ("", "lists no index"),
        ("3 -1", "lists something else than whole numbers from 0 on"),
    ],
)
def test_bad_index_files_are_named(tmp_path, content, says):
    path = tmp_path / "indices.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=rf"indices\.txt: {says}"):
        read_index_file(Forget(index_file=str(path)))
