"""Labelled images in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ..errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with one class each.

    images: uint8 ``[n, channels, height, width]``, 0 black and 255 white. labels: int64 ``[n]``, positions in
    ``class_names``. Raises :class:`~negmerge.errors.DataError` if they do not fit together or a class is
    empty.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise DataError(
                "images must be uint8 [n, channels, height, width], "
                f"not {self.images.dtype} {list(self.images.shape)}",
                path=self.name,
            )
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(f"{len(self.images)} images, but {len(self.labels)} labels", path=self.name)
        classes = len(self.class_names)
        if self.labels.size and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise DataError(f"a label lies outside 0…{classes - 1}", path=self.name)
        counts = np.bincount(self.labels, minlength=classes)
        if empty := [name for name, count in zip(self.class_names, counts, strict=True) if not count]:
            raise DataError(f"no image of {', '.join(empty)}", path=self.name)

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def pixel_statistics(self, rows: np.ndarray) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, of the images at ``rows``, in units of full white."""
        pixels = self.images[rows].astype(np.float64) / 255
        return pixels.mean(axis=(0, 2, 3)).tolist(), pixels.std(axis=(0, 2, 3)).tolist()

    def sha256(self) -> str:
        """Checksum of pixels and labels."""
        digest = hashlib.sha256(str(self.images.shape).encode())
        digest.update(self.images.tobytes())
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()
