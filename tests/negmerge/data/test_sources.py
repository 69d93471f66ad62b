"""Every source on small files in its own format."""

from __future__ import annotations

import csv
import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from data_files import idx, picture, write_mnist_like
from negmerge.data import DATA_SETS, cifar
from negmerge.data.image_set import ImageSet
from negmerge.data.packed import read_packed
from negmerge.errors import DataError, MissingDataError, RecipeError
from PIL import Image
from scipy.io import savemat

RANDOM = np.random.default_rng(0)


def pixels(count: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def loaded(name: str, folder: Path, side: int | None = 8) -> ImageSet:
    return DATA_SETS.get(name).load(folder, side)


def parts(images: ImageSet) -> tuple[list[int], list[int]]:
    """Labels of the training and of the test images."""
    assert images.official is not None
    return images.labels[images.official.train].tolist(), images.labels[images.official.test].tolist()


def test_gzipped_files_of_the_mnist_family(tmp_path):
    written = write_mnist_like(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    packed = DATA_SETS.get("fashion-mnist").read(tmp_path)
    np.testing.assert_array_equal(packed.images[: packed.train, 0], written["train"][0])
    assert packed.class_names[8] == "Bag"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not an IDX file"),
        (bytes([0, 0, 13, 1]) + bytes(8), "is not an IDX file"),
        (idx(np.zeros((30, 28, 28)))[:-1], "holds 23,519 bytes instead of 23,520"),
    ],
)
def test_damaged_files_of_the_mnist_family_are_named(tmp_path, content, says):
    write_mnist_like(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=says) as problem:
        DATA_SETS.get("mnist").load(tmp_path)
    assert "train-images" in str(problem.value)


BATCHES = [f"data_batch_{number}" for number in range(1, 6)]


def cifar10_parts() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {batch: (pixels(4), RANDOM.integers(0, 10, 4)) for batch in [*BATCHES, "test_batch"]}


def check_cifar10(written: dict[str, tuple[np.ndarray, np.ndarray]], folder: Path) -> None:
    packed = DATA_SETS.get("cifar10").read(folder)
    order = [*BATCHES, "test_batch"]
    np.testing.assert_array_equal(packed.images, np.concatenate([written[name][0] for name in order]))
    np.testing.assert_array_equal(packed.labels, np.concatenate([written[name][1] for name in order]))
    assert packed.train == 20
    assert packed.class_names[3] == "cat"


def test_cifar10_as_binary_records(tmp_path):
    written = cifar10_parts()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name, (images, labels) in written.items():
        records = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(4, -1)], axis=1)
        (tmp_path / "cifar-10-batches-bin" / f"{name}.bin").write_bytes(records.tobytes())
    check_cifar10(written, tmp_path)
    with (tmp_path / "cifar-10-batches-bin" / "data_batch_2.bin").open("ab") as opened:
        opened.write(b"x")
    with pytest.raises(DataError, match=r"data_batch_2\.bin: .*are not whole records"):
        DATA_SETS.get("cifar10").read(tmp_path)


def test_cifar10_as_strips_of_png(tmp_path):
    written = cifar10_parts()
    (tmp_path / "package").mkdir()
    for name, (images, _) in written.items():
        strip = Image.fromarray(np.moveaxis(images, 1, 3).reshape(4, 1024, 3))
        strip.save(tmp_path / "package" / f"{name}.png")
    train = np.concatenate([written[name][1] for name in BATCHES])
    (tmp_path / "package" / "train_lables.json").write_text(json.dumps(train.tolist()))
    (tmp_path / "package" / "test_lables.json").write_text(json.dumps(written["test_batch"][1].tolist()))
    check_cifar10(written, tmp_path)


def test_cifar10_as_torchvision_keeps_it(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    written = cifar10_parts()
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, (images, labels) in written.items():
        (folder / name).write_bytes(pickle.dumps({"data": images.reshape(4, -1), "labels": labels.tolist()}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(cifar._CLASSES)}))
    with pytest.raises(DataError, match="cannot be read"):
        DATA_SETS.get("cifar10").read(tmp_path)  # torchvision compares MD5s
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, None] for name in BATCHES])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", None]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", datasets.CIFAR10.meta | {"md5": None})
    check_cifar10(written, tmp_path)


def test_cifar100_has_fine_labels_and_their_names(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    names = [f"kind_{number:02d}" for number in range(100)]
    (folder / "fine_label_names.txt").write_text("\n".join(names) + "\n\n")
    for part, count in (("train", 200), ("test", 100)):
        fine = np.arange(count) % 100
        records = np.concatenate(
            [fine[:, None] // 5, fine[:, None], pixels(count).reshape(count, -1)], axis=1
        )
        (folder / f"{part}.bin").write_bytes(records.astype(np.uint8).tobytes())
    images = loaded("cifar100", tmp_path, None)
    assert images.class_names[7] == "kind 07"
    assert parts(images)[1] == list(range(100))


def test_svhn_counts_from_one_and_ten_is_zero(tmp_path):
    for part, count in (("train", 20), ("test", 10)):
        images = np.moveaxis(pixels(count), (0, 1), (3, 2))
        savemat(tmp_path / f"{part}_32x32.mat", {"X": images, "y": (np.arange(count) % 10 + 1)[:, None]})
    images = loaded("svhn", tmp_path, None)
    assert images.images.shape == (30, 3, 32, 32)
    assert parts(images)[1] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    (tmp_path / "test_32x32.mat").write_bytes(b"x" * 200)
    with pytest.raises(DataError, match=r"test_32x32\.mat: cannot be read"):
        loaded("svhn", tmp_path, None)


def test_gtsrb(tmp_path):
    for label in range(43):
        picture(tmp_path / "gtsrb/GTSRB/Training" / f"{label:05d}" / "0.ppm", label)
    rows = [{"Filename": f"{number}.ppm", "ClassId": label} for number, label in enumerate([14, 2])]
    for row in rows:
        picture(tmp_path / "gtsrb/GTSRB/Final_Test/Images" / str(row["Filename"]))
    with (tmp_path / "gtsrb/GT-final_test.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["Filename", "ClassId"], delimiter=";")
        writer.writeheader()
        writer.writerows(rows)
    images = loaded("gtsrb", tmp_path)
    assert parts(images) == (list(range(43)), [14, 2])
    assert [images.class_names[label] for label in (2, 8, 14, 17)] == [
        "speed limit 50 km/h",
        "speed limit 120 km/h",
        "stop",
        "no entry",
    ]
    (tmp_path / "gtsrb/GT-final_test.csv").write_text("Filename;Class\na;1\n")
    with pytest.raises(DataError, match=r"GT-final_test\.csv: cannot be read"):
        loaded("gtsrb", tmp_path)


def test_eurosat_is_always_divided_alike(tmp_path):
    folders = ["AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial"]
    folders += ["Pasture", "PermanentCrop", "Residential", "River", "SeaLake"]
    for folder in folders:
        for number in range(10):
            picture(tmp_path / "eurosat/2750" / folder / f"{number}.jpg", number)
    first, again = loaded("eurosat", tmp_path), loaded("eurosat", tmp_path)
    assert first.sha256 == again.sha256
    assert first.official is not None
    assert first.official.validation is not None
    assert [len(rows) for rows in (first.official.train, first.official.validation)] == [80, 10]
    assert parts(first)[1] == list(range(10))


def test_cub(tmp_path):
    root = tmp_path / "CUB_200_2011"
    rows = [
        ("001.Black_footed_Albatross/a.jpg", 1, 1),
        ("002.Ovenbird/b.jpg", 2, 1),
        ("002.Ovenbird/c.jpg", 2, 0),
    ]
    for path, _, _ in rows:
        picture(root / "images" / path)
    lines = {"images": 0, "image_class_labels": 1, "train_test_split": 2}
    for name, column in lines.items():
        text = "".join(f"{number} {row[column]}\n" for number, row in enumerate(rows, 1))
        (root / f"{name}.txt").write_text(text)
    (root / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Ovenbird\n")
    images = loaded("cub", tmp_path)
    assert images.class_names == ("black footed albatross", "ovenbird")
    assert parts(images) == ([0, 1], [1])


def test_tiny_imagenet(tmp_path):
    root = tmp_path / "tiny-imagenet-200"
    for number in ("n2", "n1"):
        picture(root / "train" / number / "images" / "0.JPEG")
    picture(root / "val" / "images" / "val_0.JPEG")
    (root / "wnids.txt").write_text("n2\nn1\n")
    (root / "words.txt").write_text("n0\tno\nn1\tgoldfish, Carassius\nn2\tfire salamander\n")
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn2\t0\t0\t9\t9\n")
    images = loaded("tiny-imagenet", tmp_path)
    assert images.class_names == ("goldfish", "fire salamander")
    assert parts(images) == ([0, 1], [1])


def test_sun397_and_resisc45_follow_their_lists(tmp_path):
    root = tmp_path / "sun" / "SUN397"
    for number in range(2):
        picture(root / "a/abbey" / f"sun_{number}.jpg", number)
        picture(root / "a/athletic_field/outdoor" / f"sun_{number}.jpg", number)
    (root / "ClassName.txt").write_text("/a/abbey\n/a/athletic_field/outdoor\n")
    (root / "Training_01.txt").write_text("/a/abbey/sun_0.jpg\n/a/athletic_field/outdoor/sun_0.jpg\n")
    (root / "Testing_01.txt").write_text("/a/athletic_field/outdoor/sun_1.jpg\n")
    images = loaded("sun397", tmp_path / "sun")
    assert images.class_names == ("abbey", "athletic field outdoor")
    assert parts(images) == ([0, 1], [1])

    root = tmp_path / "resisc"
    for name in ("airplane_001", "baseball_diamond_001", "baseball_diamond_002"):
        picture(root / "NWPU-RESISC45" / name.rpartition("_")[0] / f"{name}.jpg")
    (root / "resisc45-train.txt").write_text("airplane_001.jpg\nbaseball_diamond_001.jpg\n")
    (root / "resisc45-test.txt").write_text("baseball_diamond_002.jpg\n")
    images = loaded("resisc45", root)
    assert images.class_names == ("airplane", "baseball diamond")
    assert parts(images) == ([0, 1], [1])
    (root / "resisc45-test.txt").write_text("zebra_002.jpg\n")
    with pytest.raises(DataError, match=r"resisc45-test\.txt: names zebra_002"):
        loaded("resisc45", root)


def test_dtd_food_and_cars_through_torchvision(tmp_path):
    pytest.importorskip("torchvision")
    for name in ("banded", "dotted"):
        for part in ("train", "val", "test"):
            picture(tmp_path / "dtd/dtd/images" / name / f"{name}_{part}.jpg")
    (tmp_path / "dtd/dtd/labels").mkdir()
    for part in ("train", "val", "test"):
        listed = "".join(f"{name}/{name}_{part}.jpg\n" for name in ("banded", "dotted"))
        (tmp_path / f"dtd/dtd/labels/{part}1.txt").write_text(listed)
    images = loaded("dtd", tmp_path)
    assert images.class_names == ("banded", "dotted")
    assert parts(images) == ([0, 1, 0, 1], [0, 1])

    for name in ("apple_pie", "pho"):
        picture(tmp_path / "food-101/images" / name / "1.jpg")
    (tmp_path / "food-101/meta").mkdir()
    listed_foods = {name: [f"{name}/1"] for name in ("apple_pie", "pho")}
    for part in ("train", "test"):
        (tmp_path / f"food-101/meta/{part}.json").write_text(json.dumps(listed_foods))
    images = loaded("food101", tmp_path)
    assert images.class_names == ("apple pie", "pho")
    assert images.images[np.arange(4)].shape == (4, 3, 8, 8)
    (tmp_path / "food-101/meta/test.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        loaded("food101", tmp_path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for part, count in (("train", 4), ("val", 2), ("test", 2)):
        for name in ("big_dog", "cat"):
            for number in range(count):
                picture(tmp_path / part / name / f"{number}.png", number)
    return tmp_path


def test_an_image_folder_with_splits(pets):
    images = loaded("image-folder", pets)
    assert images.class_names == ("big dog", "cat")
    assert images.official is not None
    assert images.official.validation is not None
    rows = [images.official.train, images.official.test, images.official.validation]
    assert [len(part) for part in rows] == [8, 4, 4]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(16))


def test_an_image_folder_without_splits(pets):
    images = loaded("image-folder", pets / "train")
    assert images.official is None
    assert images.labels.tolist() == [0] * 4 + [1] * 4


def test_what_is_wrong_with_an_image_folder_is_said(pets):
    with pytest.raises(MissingDataError, match="is not there"):
        loaded("image-folder", pets / "absent")
    (pets / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="class 'empty' has no image"):
        loaded("image-folder", pets)
    (pets / "train" / "empty").rmdir()
    (pets / "test" / "owl").mkdir()
    with pytest.raises(DataError, match="classes that train has not: owl"):
        loaded("image-folder", pets)


def test_sizes_and_folders_belong_to_files(tmp_path):
    write_mnist_like(tmp_path)
    with pytest.raises(RecipeError, match="image_size does not apply to mnist"):
        loaded("mnist", tmp_path)
    with pytest.raises(RecipeError, match="folder does not apply to digits"):
        loaded("digits", tmp_path, None)


def test_a_damaged_packed_file_is_named(tmp_path):
    (tmp_path / "images.safetensors").write_bytes(b"no tensors")
    with pytest.raises(DataError, match=r"images\.safetensors: is not a readable data set"):
        read_packed(tmp_path / "images.safetensors")
