"""Small data sets as one safetensors file of pixels and labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ..errors import ChecksumError, DataError
from .image_set import ImageSet, Official

_FORMAT = "negmerge images 1"


@dataclass(frozen=True, eq=False)
class Packed:
    """Images uint8 ``[n, channels, height, width]`` and labels int64 ``[n]``, training images first.

    train: how many are training images; the others are the test images.
    """

    images: np.ndarray
    labels: np.ndarray
    train: int
    class_names: tuple[str, ...]

    @classmethod
    def of_parts(
        cls,
        train: tuple[np.ndarray, np.ndarray],
        test: tuple[np.ndarray, np.ndarray],
        class_names: tuple[str, ...],
    ) -> Packed:
        """From the images and labels of the training and of the test split."""
        images = np.ascontiguousarray(np.concatenate([train[0], test[0]]))
        labels = np.concatenate([train[1], test[1]]).astype(np.int64)
        return cls(images, labels, len(train[0]), class_names)

    def image_set(self, name: str) -> ImageSet:
        rows = np.arange(len(self.labels))
        official = Official(train=rows[: self.train], test=rows[self.train :])
        return ImageSet(name, self.images, self.labels, self.class_names, official)

    def checked(self, name: str, sha256: str | None, place: Path) -> ImageSet:
        """The images of ``place``; sha256: their checksum where it is known.

        Raises :class:`~negmerge.errors.DataError` if this is no image set, and
        :class:`~negmerge.errors.ChecksumError` if it is another one.
        """
        images = self.image_set(name)
        if sha256 not in (None, images.sha256):
            raise ChecksumError(
                f"the images or labels are not the published ones of {name}: SHA-256 {images.sha256}, "
                f"expected {sha256}",
                path=place,
                remedy=f"Remove this copy and get another one: negmerge data get {name}",
            )
        return images


def write_packed(packed: Packed, path: Path) -> None:
    """Write a new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    description = {
        "format": _FORMAT,
        "train": str(packed.train),
        "class_names": json.dumps(packed.class_names),
    }
    save_file({"images": packed.images, "labels": packed.labels}, path, metadata=description)


def read_packed(path: Path) -> Packed:
    """Read a file that :func:`write_packed` wrote; :class:`~negmerge.errors.DataError` if it is damaged."""
    try:
        with safe_open(path, framework="numpy") as opened:
            description = opened.metadata() or {}
            if description.get("format") != _FORMAT:
                raise ValueError("another format")
            return Packed(
                images=opened.get_tensor("images"),
                labels=opened.get_tensor("labels"),
                train=int(description["train"]),
                class_names=tuple(json.loads(description["class_names"])),
            )
    except (OSError, SafetensorError, ValueError, KeyError) as problem:
        raise DataError(
            f"is not a readable data set: {problem}",
            path=path,
            remedy="Remove the file and get the data set again with negmerge data get",
        ) from problem
