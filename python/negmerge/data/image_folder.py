"""Any folder of image files that has a folder for each class."""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from .file_set import class_folders, file_set, files_of_classes, spoken, undivided_file_set
from .image_set import ImageSet
from .source import InFiles

_TRAIN, _VALIDATION, _TEST = "train", "val", "test"


def index(name: str, folder: Path, side: int) -> ImageSet:
    """Images in ``train``, ``val`` and ``test``, each with a folder for each class, or in such folders
    directly.

    Without ``test``, the images in ``val`` are the test split.
    """
    if not (folder / _TRAIN).is_dir():
        classes = class_folders(folder)
        return undivided_file_set(name, folder, side, spoken(classes), files_of_classes(folder, classes))
    classes = class_folders(folder / _TRAIN)
    parts = [part for part in (_TEST, _VALIDATION) if (folder / part).is_dir()]
    if not parts:
        raise DataError(
            "has a folder train, but neither val nor test",
            path=folder,
            remedy="Add one of them, or give the folder train itself",
        )
    for part in parts:
        if unknown := sorted(set(class_folders(folder / part)) - set(classes)):
            raise DataError(f"classes that train has not: {', '.join(unknown[:5])}", path=folder / part)
    test, *validation = (files_of_classes(folder / part, classes) for part in parts)
    return file_set(
        name,
        folder,
        side,
        spoken(classes),
        train=files_of_classes(folder / _TRAIN, classes),
        test=test,
        validation=validation[0] if validation else None,
    )


SOURCE = InFiles(
    name="image-folder",
    title="any folder with a folder of images for each class",
    index=index,
    layout=(".",),
    by_hand="Give its folder in the recipe: data: {name: image-folder, folder: FOLDER}",
)
