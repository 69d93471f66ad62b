"""Images that stay in their files until they are asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CorruptImageError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Side of the images, in pixels, unless the recipe says otherwise: what most models of photographs take.
SIDE = 224


class ImageFiles:
    """Image files that look like one uint8 array ``[n, 3, side, side]``, of which rows are read on demand.

    An image is scaled (bicubic) so that its shorter side has ``side`` pixels, and its centre is taken.
    Indexing with an array of rows decodes them in several threads and returns uint8 ``[rows, 3, side,
    side]``; it raises :class:`~negmerge.errors.CorruptImageError`, which names the file.
    """

    ndim = 4
    dtype = np.dtype(np.uint8)

    def __init__(self, paths: Sequence[Path], root: Path, side: int = SIDE) -> None:
        self._paths = list(paths)
        self._root = root
        self._side = side

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self._paths), 3, self._side, self._side

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        # Pillow decodes and scales outside the interpreter's lock.
        with ThreadPoolExecutor(max_workers=min(8, len(os.sched_getaffinity(0)))) as threads:
            read = list(threads.map(self._pixels, rows.tolist()))
        return np.stack(read) if read else np.empty((0, *self.shape[1:]), dtype=np.uint8)

    def picture(self, row: int) -> Image:
        """One image in RGB, in the resolution of its file."""
        from PIL import Image

        path = self._paths[row]
        try:
            with Image.open(path) as opened:
                return opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
            raise CorruptImageError(
                f"cannot be decoded: {problem}",
                path=path,
                remedy="Replace the file by an intact copy, or remove it",
            ) from problem

    def listing(self) -> bytes:
        """Name below the root and size of every file, in order."""
        lines = (f"{path.relative_to(self._root)}\0{path.stat().st_size}\n" for path in self._paths)
        return "".join(lines).encode("utf-8", "surrogateescape")

    def _pixels(self, row: int) -> np.ndarray:
        from PIL import Image, ImageOps

        fitted = ImageOps.fit(self.picture(row), (self._side, self._side), Image.Resampling.BICUBIC)
        return np.moveaxis(np.asarray(fitted), 2, 0)
