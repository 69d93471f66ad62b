from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import picture
from negmerge.data.batches import batches_of
from negmerge.data.file_set import file_set
from negmerge.data.image_set import ImageSet
from negmerge.errors import CorruptImageError
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / f"{number}.png", number, size=(8 + number, 8))
    return tmp_path


def images_in(folder: Path, side: int = 8) -> ImageSet:
    files = [(folder / f"{number}.png", number % 2) for number in range(6)]
    return file_set("pets", folder, side, ["cat", "dog"], train=files[:4], test=files[4:])


def test_rows_are_decoded_in_their_order(folder):
    images = images_in(folder)
    read = images.images[np.array([3, 0])]
    assert read.dtype == np.uint8
    assert read.shape == (2, 3, 8, 8)
    np.testing.assert_array_equal(np.moveaxis(read[1], 0, 2), np.asarray(Image.open(folder / "0.png")))
    assert images.images[np.array([], dtype=np.int64)].shape == (0, 3, 8, 8)


def test_wide_images_lose_their_sides_equally(tmp_path):
    wide = np.zeros((4, 12, 3), dtype=np.uint8)
    wide[:, 4:8] = 255
    Image.fromarray(wide).save(tmp_path / "0.png")
    images = file_set("one", tmp_path, 4, ["it"], train=[(tmp_path / "0.png", 0)], test=[])
    assert images.images[np.array([0])].min() == 255


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK"])
def test_every_kind_of_image_becomes_rgb(tmp_path, mode):
    Image.new(mode, (5, 5)).save(tmp_path / ("0.jpg" if mode == "CMYK" else "0.png"))
    path = next(tmp_path.iterdir())
    images = file_set("one", tmp_path, 5, ["it"], train=[(path, 0)], test=[])
    assert images.images[np.array([0])].shape == (1, 3, 5, 5)
    assert images.picture(0).mode == "RGB"


@pytest.mark.parametrize("damage", ["cut", "text", "gone"])
def test_a_corrupt_image_is_named(folder, damage):
    images = images_in(folder)
    path = folder / "2.png"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:60])
    elif damage == "text":
        path.write_text("not an image")
    else:
        path.unlink()
    with pytest.raises(CorruptImageError, match=r"2\.png: cannot be decoded") as problem:
        images.images[np.arange(6)]
    assert problem.value.path == str(path)
    with pytest.raises(CorruptImageError):
        list(batches_of(images, np.arange(6), 2))


def test_pictures_keep_their_resolution(folder):
    assert images_in(folder).picture(3).size == (11, 8)
    grey = ImageSet("grey", np.full((1, 1, 2, 3), 7, np.uint8), np.array([0]), ("it",))
    assert (grey.picture(0).mode, grey.picture(0).size) == ("L", (3, 2))
    colour = ImageSet("colour", np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2), np.array([0]), ("it",))
    assert colour.picture(0).getpixel((1, 0)) == (1, 5, 9)


def test_checksum_knows_names_sizes_and_labels(folder):
    before = images_in(folder).sha256
    assert images_in(folder).sha256 == before
    picture(folder / "0.png", 9, size=(20, 8))
    assert images_in(folder).sha256 != before


@pytest.mark.parametrize("size", [1, 4, 6, 100])
def test_batches_are_all_rows_in_order(folder, size):
    images = images_in(folder)
    rows = np.array([5, 1, 1, 0, 2, 3])
    pixels, labels = zip(*batches_of(images, rows, size), strict=True)
    assert [len(part) for part in labels[:-1]] == [size] * (len(labels) - 1)
    assert torch.equal(torch.cat(labels), torch.tensor([1, 1, 1, 0, 0, 1]))
    assert torch.equal(torch.cat(pixels), torch.from_numpy(images.images[rows]))
