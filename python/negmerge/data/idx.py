"""The IDX format of the MNIST family: a magic number, the sizes, then bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ..errors import DataError
from .packed import Packed
from .source import unreadable

_UINT8 = 8


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in an IDX file, which may be gzipped; :class:`~negmerge.errors.DataError` otherwise."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as problem:
        raise unreadable(path, problem) from problem
    dimensions = content[3] if len(content) > 3 else 0
    start = 4 + 4 * dimensions
    if content[:3] != bytes([0, 0, _UINT8]) or len(content) < start:
        raise DataError("is not an IDX file of bytes", path=path)
    shape = np.frombuffer(content, ">u4", count=dimensions, offset=4).tolist()
    if len(content) - start != math.prod(shape):
        raise DataError(f"holds {len(content) - start:,} bytes instead of {math.prod(shape):,}", path=path)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx_folder(folder: Path, class_names: tuple[str, ...]) -> Packed | None:
    """The four files of a set of the MNIST family, in a folder or below; ``None`` if they are not there."""
    names = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    paths = [_found(folder, name) for name in names]
    present = [path for path in paths if path is not None]
    if len(present) < len(names):
        return None
    train_images, train_labels, test_images, test_labels = map(read_idx, present)
    return Packed.of_parts(
        (train_images[:, None], train_labels), (test_images[:, None], test_labels), class_names
    )


def _found(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
