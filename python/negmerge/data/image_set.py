"""Labelled images, in memory or in files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .image_files import ImageFiles

if TYPE_CHECKING:
    from PIL.Image import Image

#: Images in files are measured on a sample of this many: decoding all of them may take an hour.
_SAMPLE = 5000
#: Images counted at a time.
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Official:
    """The published splits of a data set: rows of its image set, int64, ascending, no row in two of them.

    validation: ``None`` where only training and test images are told apart.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with one class each.

    images: uint8 ``[n, channels, height, width]``, 0 black and 255 white: an array, or
    :class:`~negmerge.data.image_files.ImageFiles`, which decodes the rows that it is indexed with. labels:
    int64 ``[n]``, positions in ``class_names``. official: the published splits, if there are any. Raises
    :class:`~negmerge.errors.DataError` if they do not fit together or a class is empty.
    """

    name: str
    images: np.ndarray | ImageFiles
    labels: np.ndarray
    class_names: tuple[str, ...]
    official: Official | None = None

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

    def picture(self, row: int) -> Image:
        """One image as Pillow has it, in the resolution that it is stored in: for transforms of other
        libraries.

        Raises :class:`~negmerge.errors.CorruptImageError` if its file cannot be decoded.
        """
        from PIL import Image

        if isinstance(self.images, ImageFiles):
            return self.images.picture(row)
        pixels = self.images[row]
        return Image.fromarray(pixels[0] if self.channels == 1 else np.moveaxis(pixels, 0, 2))

    def pixel_statistics(self, rows: np.ndarray) -> tuple[list[float], list[float]]:
        """Mean and standard deviation per channel, of the images at ``rows``, in units of full white.

        Of images in files, at most 5,000 are read, evenly spaced over ``rows``.
        """
        if isinstance(self.images, ImageFiles) and len(rows) > _SAMPLE:
            rows = rows[np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64)]
        counts = np.zeros((self.channels, 256), dtype=np.int64)
        for start in range(0, len(rows), _CHUNK):
            chunk = self.images[rows[start : start + _CHUNK]]
            for channel in range(self.channels):
                counts[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
        levels = np.arange(256) / 255
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ levels
        variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
        return mean.tolist(), np.sqrt(variance).tolist()

    @cached_property
    def sha256(self) -> str:
        """Checksum of pixels and labels; of images in files, that of their names and sizes instead of
        pixels.
        """
        digest = hashlib.sha256(str(tuple(self.images.shape)).encode())
        if isinstance(self.images, ImageFiles):
            digest.update(self.images.listing())
        else:
            digest.update(np.ascontiguousarray(self.images).data)
        digest.update(self.labels.astype("<i8").tobytes())
        return digest.hexdigest()
