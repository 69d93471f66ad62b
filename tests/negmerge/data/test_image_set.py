from __future__ import annotations

import numpy as np
import pytest
from negmerge.data.image_set import ImageSet
from negmerge.errors import DataError


def image_set(images: np.ndarray, labels: list[int], names: tuple[str, ...] = ("cat", "dog")) -> ImageSet:
    return ImageSet("pets", images, np.array(labels, dtype=np.int64), names)


PIXELS = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)


def test_pixel_statistics_are_per_channel_and_of_the_given_rows_only():
    images = np.zeros((3, 2, 1, 2), dtype=np.uint8)
    images[0, 0] = [[0, 255]]
    images[1, 0] = [[255, 255]]
    images[2] = 77
    mean, std = image_set(images, [0, 1, 1]).pixel_statistics(np.array([0, 1]))
    assert mean == pytest.approx([0.75, 0.0])
    assert std == pytest.approx([np.sqrt(3) / 4, 0.0])


def test_checksum_depends_on_pixels_labels_and_shape():
    checksums = {
        image_set(PIXELS, [0, 1]).sha256,
        image_set(PIXELS + np.uint8(1), [0, 1]).sha256,
        image_set(PIXELS, [1, 0]).sha256,
        image_set(PIXELS.reshape(2, 3, 1, 4), [0, 1]).sha256,
    }
    assert len(checksums) == 4
    assert image_set(PIXELS[:, :, ::-1][:, :, ::-1], [0, 1]).sha256 in checksums  # layout does not matter


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (PIXELS.astype(np.float32), [0, 1], "must be uint8"),
        (PIXELS[0], [0, 1, 1], "must be uint8"),
        (PIXELS, [0, 1, 1], "2 images, but 3 labels"),
        (PIXELS, [0, 2], "a label lies outside 0…1"),
        (PIXELS, [-1, 1], "a label lies outside 0…1"),
        (PIXELS, [0, 0], "no image of dog"),
    ],
)
def test_what_does_not_fit_together_is_refused(images, labels, says):
    with pytest.raises(DataError, match=says) as problem:
        image_set(images, labels)
    assert str(problem.value).startswith("pets: ")
