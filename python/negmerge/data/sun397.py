"""SUN397, the first published division: 19,850 training and as many test photographs, 397 kinds of scenes.

Source: Xiao et al., SUN Database: Large-scale Scene Recognition from Abbey to Zoo, CVPR 2010.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .file_set import Files, file_set, spoken
from .image_set import ImageSet
from .source import InFiles

_ROOT = "SUN397"
_LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


def _index(name: str, folder: Path, side: int) -> ImageSet:
    root = folder / _ROOT
    classes = (root / "ClassName.txt").read_text(encoding="ascii").split()
    label = {text: number for number, text in enumerate(classes)}
    parts = {part: _files(root, listed, label) for part, listed in _LISTS.items()}
    # "/a/athletic_field/outdoor" is an athletic field outdoor: the first letter only sorts.
    names = spoken([text.split("/", 2)[2].replace("/", " ") for text in classes])
    return file_set(name, folder, side, names, **parts)


def _files(root: Path, listed: str, label: dict[str, int]) -> Files:
    """The files that a list names: their class and name, a line each."""
    files: Files = []
    for line in (root / listed).read_text(encoding="ascii").split():
        class_name = line.rpartition("/")[0]
        if class_name not in label:
            raise DataError(f"names {line}, which is of no class", path=root / listed)
        files.append((root / line.lstrip("/"), label[class_name]))
    return files


SOURCE = InFiles(
    name="sun397",
    title="39,700 photographs, 397 kinds of scenes",
    index=_index,
    layout=tuple(f"{_ROOT}/{path}" for path in ("ClassName.txt", *_LISTS.values())),
    by_hand="Unpack SUN397.tar.gz and Partitions.zip of https://vision.princeton.edu/projects/2010/SUN/ in "
    f"its folder, and put {' and '.join(_LISTS.values())} into {_ROOT}/",
)
