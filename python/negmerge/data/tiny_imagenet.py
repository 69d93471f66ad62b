"""Tiny-ImageNet: 100,000 training and 10,000 validation images of 64×64 pixels, 200 classes.

Source: Le and Yang, Tiny ImageNet Visual Recognition Challenge, 2015. The images of its own test split have
no labels, so that the validation images are the test split.
"""

from __future__ import annotations

import csv
from pathlib import Path

from .file_set import Files, file_set, files_of_classes
from .image_set import ImageSet
from .routes import Archive, Official
from .source import InFiles, unreadable

_ROOT = "tiny-imagenet-200"


def _index(name: str, folder: Path, side: int) -> ImageSet:
    root = folder / _ROOT
    numbers = sorted((root / "wnids.txt").read_text(encoding="ascii").split())
    names = dict(_rows(root / "words.txt"))
    label = {number: place for place, number in enumerate(numbers)}
    annotations = root / "val" / "val_annotations.txt"
    try:
        test: Files = [(root / "val" / "images" / row[0], label[row[1]]) for row in _rows(annotations)]
        class_names = [names[number].split(",")[0] for number in numbers]
    except (KeyError, IndexError) as problem:
        raise unreadable(annotations, problem) from problem
    return file_set(
        name, folder, side, class_names, train=files_of_classes(root / "train", numbers), test=test
    )


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


SOURCE = InFiles(
    name="tiny-imagenet",
    title="110,000 photographs, 64×64, 200 classes",
    index=_index,
    layout=tuple(
        f"{_ROOT}/{path}" for path in ("wnids.txt", "words.txt", "train", "val/val_annotations.txt")
    ),
    routes=(
        Official(
            (
                Archive(
                    "tiny-imagenet-200.zip",
                    248_100_043,
                    "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
                    ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
                ),
            )
        ),
    ),
)
