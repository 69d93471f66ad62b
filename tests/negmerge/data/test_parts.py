"""Data sets in parts: written, carried, read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from data_files import write_mnist_like
from negmerge.data import DATA_SETS
from negmerge.data.packed import Packed
from negmerge.data.parts import has_all_parts, read_parts, write_parts
from negmerge.data.source import InMemory
from negmerge.errors import ChecksumError, DataError, MissingDataError

from negmerge_ext.errors import OptionError, OutputExistsError

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 40, 40), dtype=np.uint8)
PACKED = Packed(IMAGES, np.arange(50) % 4, 30, ("a", "b", "c", "d"))
#: Of eleven images.
LARGEST = (1 << 16) + 11 * (IMAGES[0].nbytes + 8)


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    return write_parts(PACKED, tmp_path / "parts", LARGEST)


def test_what_is_read_is_what_was_written(parts):
    assert [path.name for path in parts] == [f"images-{part}-of-5.safetensors" for part in range(1, 6)]
    assert all(path.stat().st_size <= LARGEST for path in parts)
    read = read_parts(parts[0].parent)
    assert np.array_equal(read.images, PACKED.images)
    assert np.array_equal(read.labels, PACKED.labels)
    assert (read.train, read.class_names) == (PACKED.train, PACKED.class_names)
    assert read.image_set("set").sha256 == PACKED.image_set("set").sha256


def test_ten_and_more_are_read_in_order(tmp_path):
    paths = write_parts(PACKED, tmp_path, (1 << 16) + 4 * (IMAGES[0].nbytes + 8))
    assert len(paths) == 13
    assert np.array_equal(read_parts(tmp_path).images, PACKED.images)


def test_parts_that_are_missing_are_named(parts):
    folder = parts[0].parent
    assert has_all_parts(folder)
    parts[0].unlink()
    parts[3].unlink()
    assert not has_all_parts(folder)
    with pytest.raises(MissingDataError, match=r"images-1-of-5\.safetensors, images-4-of-5\.safetensors"):
        read_parts(folder)
    assert read_parts(folder.parent) is None
    assert not has_all_parts(folder.parent)


def test_parts_of_several_sets_are_refused(parts, tmp_path):
    other = Packed(IMAGES[:, :, ::-1].copy(), PACKED.labels, 20, PACKED.class_names)
    others = write_parts(other, tmp_path / "others", LARGEST)
    shutil.copy(others[2], parts[2])
    with pytest.raises(DataError, match=r"images-3-of-5.* does not belong to the other parts"):
        read_parts(parts[0].parent)
    parts[1].write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"images-2-of-5.*is no readable part"):
        read_parts(parts[0].parent)
    shutil.copy(parts[0], parts[1])
    with pytest.raises(DataError, match=r"images-2-of-5.*does not follow upon the part before"):
        read_parts(parts[0].parent)


def test_nothing_is_overwritten_and_a_part_holds_an_image(parts, tmp_path):
    with pytest.raises(OutputExistsError, match="holds a data set in parts"):
        write_parts(PACKED, parts[0].parent, LARGEST)
    with pytest.raises(OptionError, match="holds no image"):
        write_parts(PACKED, tmp_path / "none", 1000)


def test_runs_read_parts_and_check_them(tmp_path, monkeypatch):
    """As the data folder of another machine has them."""
    write_mnist_like(tmp_path / "mnist")
    mnist = DATA_SETS.get("mnist")
    assert isinstance(mnist, InMemory)
    packed = mnist.read(tmp_path / "mnist")
    known = InMemory("mnist", "", (), mnist.read, packed.image_set("mnist").sha256)
    write_parts(packed, tmp_path / "carried" / "mnist", (1 << 16) + 15_000)
    monkeypatch.setenv("NEGMERGE_DATA", str(tmp_path / "carried"))
    assert len(list((tmp_path / "carried" / "mnist").iterdir())) == 3
    assert known.is_ready(tmp_path / "carried" / "mnist")
    images = known.load(None)
    assert np.array_equal(images.images, packed.images)
    assert len(images.official.train) == 30
    assert np.array_equal(known.packed(tmp_path / "carried" / "mnist").labels, packed.labels)
    with pytest.raises(ChecksumError, match="are not the published ones"):
        mnist.load(None)
