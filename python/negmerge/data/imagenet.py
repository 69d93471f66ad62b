"""ImageNet-1k, from folders: about 1.28 million training and 50,000 validation images, 1,000 classes.

Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .file_set import class_folders, file_set, files_of_classes
from .image_set import ImageSet
from .source import InFiles

_CLASSES = 1000


def _index(name: str, folder: Path, side: int) -> ImageSet:
    from open_clip import IMAGENET_CLASSNAMES  # in the order of the sorted WordNet numbers

    numbers = class_folders(folder / "train")
    if len(numbers) != _CLASSES:
        raise DataError(f"has {len(numbers)} folders of classes instead of {_CLASSES}", path=folder / "train")
    return file_set(
        name,
        folder,
        side,
        IMAGENET_CLASSNAMES,
        train=files_of_classes(folder / "train", numbers),
        test=files_of_classes(folder / "val", numbers),
    )


SOURCE = InFiles(
    name="imagenet",
    title="1.33 million photographs, 1,000 classes",
    index=_index,
    layout=("train", "val"),
    by_hand="Register at image-net.org, and put the images into train/WNID/ and val/WNID/ of its folder",
)
