"""Data sets whose files torchvision lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .file_set import Files, file_set, spoken
from .image_set import ImageSet
from .source import unreadable


def through_torchvision(
    kind: str, name: str, folder: Path, side: int, *, train: Sequence[str], test: str
) -> ImageSet:
    """The set that torchvision's class ``kind`` finds in a folder: its splits ``train``, joined, and
    ``test``.
    """
    from torchvision import datasets

    dataset = getattr(datasets, kind)
    try:
        # The path stands for the image: nothing is decoded.
        parts = [dataset(folder, split=split, loader=Path) for split in (*train, test)]
        *training, tested = (_listed(part) for part in parts)
    except (OSError, RuntimeError, ValueError, KeyError) as problem:
        raise unreadable(folder, problem) from problem
    together = [file for part in training for file in part]
    return file_set(name, folder, side, spoken(parts[0].classes), train=together, test=tested)


def _listed(dataset: Any) -> Files:
    files = (dataset[number] for number in range(len(dataset)))
    return [(path, int(label)) for path, label in files]
