"""Image sets made of lists of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from ..errors import DataError, MissingDataError
from .image_files import ImageFiles
from .image_set import ImageSet, Official

#: Image files and their labels.
Files: TypeAlias = list[tuple[Path, int]]

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".webp", ".tif", ".tiff"})


def file_set(
    name: str,
    folder: Path,
    side: int,
    class_names: Sequence[str],
    *,
    train: Files,
    test: Files,
    validation: Files | None = None,
) -> ImageSet:
    """The set of these files, below ``folder``; training images come first, validation images last."""
    files = [*train, *test, *(validation or [])]
    rows = np.arange(len(files))
    first, second = len(train), len(train) + len(test)
    official = Official(
        train=rows[:first], test=rows[first:second], validation=None if validation is None else rows[second:]
    )
    return _image_set(name, folder, side, class_names, files, official)


def undivided_file_set(
    name: str, folder: Path, side: int, class_names: Sequence[str], files: Files
) -> ImageSet:
    """The set of these files, below ``folder``, without published splits."""
    return _image_set(name, folder, side, class_names, files, None)


def _image_set(
    name: str,
    folder: Path,
    side: int,
    class_names: Sequence[str],
    files: Files,
    official: Official | None,
) -> ImageSet:
    if not files:
        raise DataError("holds no image", path=folder)
    images = ImageFiles([path for path, _ in files], folder, side)
    labels = np.array([label for _, label in files], dtype=np.int64)
    return ImageSet(name, images, labels, tuple(class_names), official)


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, sorted: one for each class."""
    if not folder.is_dir():
        raise MissingDataError("is no folder", path=folder, remedy="Give the folder that the data set is in")
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise DataError("has no folders of classes", path=folder)
    return names


def files_of_classes(folder: Path, names: Sequence[str]) -> Files:
    """The image files of every class: at any depth of the folder of its name, sorted.

    Raises :class:`~negmerge.errors.DataError` for a class that has none, or no folder.
    """
    files: Files = []
    for label, name in enumerate(names):
        below = folder / name
        found = sorted(path for path in below.rglob("*") if path.suffix.lower() in _SUFFIXES)
        if not found:
            raise DataError(f"class {name!r} has no image", path=below)
        files += [(path, label) for path in found]
    return files


def spoken(names: Sequence[str]) -> list[str]:
    """Names as they are said: without underscores."""
    return [name.replace("_", " ") for name in names]
