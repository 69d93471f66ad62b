"""RESISC45: 31,500 aerial images, 45 classes.

Source: Cheng, Han and Lu, Remote Sensing Image Scene Classification: Benchmark and State of the Art, 2017.
The splits are those of Neumann et al., In-domain representation learning for remote sensing, 2019: 18,900
training and 6,300 test images; as in NegMerge's protocol, their validation images are not used.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .file_set import Files, class_folders, file_set, spoken
from .image_set import ImageSet
from .source import InFiles

_IMAGES = "NWPU-RESISC45"
_LISTS = {part: f"resisc45-{part}.txt" for part in ("train", "test")}


def _index(name: str, folder: Path, side: int) -> ImageSet:
    classes = class_folders(folder / _IMAGES)
    parts = {part: _files(folder, listed, classes) for part, listed in _LISTS.items()}
    return file_set(name, folder, side, spoken(classes), **parts)


def _files(folder: Path, listed: str, classes: list[str]) -> Files:
    """The files that a list names: CLASS_NUMBER.jpg, a line each."""
    files: Files = []
    for line in (folder / listed).read_text(encoding="ascii").split():
        class_name = line.rpartition("_")[0]
        if class_name not in classes:
            raise DataError(f"names {line}, which is of no class", path=folder / listed)
        files.append((folder / _IMAGES / class_name / line, classes.index(class_name)))
    return files


SOURCE = InFiles(
    name="resisc45",
    title="31,500 aerial images, 256×256, 45 classes",
    index=_index,
    layout=(_IMAGES, *_LISTS.values()),
    by_hand=f"Put the images into {_IMAGES}/CLASS/ of its folder, and {' and '.join(_LISTS.values())} (from "
    "https://storage.googleapis.com/remote_sensing_representations/) beside it",
)
