"""Forget sets that are listed in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from ..recipe import Forget


def read_index_file(forget: Forget) -> Forget:
    """``forget`` with the indices that its file lists in place of the file; itself if it names none.

    The file is text with whole numbers between blanks or line ends, or an array of whole numbers (.npy).
    Raises :class:`~negmerge.errors.DataError`.
    """
    if forget.index_file is None:
        return forget
    path = Path(forget.index_file).expanduser()
    try:
        if path.suffix == ".npy":
            indices = np.load(path, allow_pickle=False)
        else:
            indices = np.array([int(word) for word in path.read_text(encoding="ascii").split()])
    except OSError as problem:
        raise DataError(f"cannot be read: {problem.strerror}", path=path) from problem
    except (ValueError, EOFError) as problem:
        raise DataError(f"is no list of whole numbers: {problem}", path=path) from problem
    if indices.ndim != 1 or not indices.size:
        raise DataError("lists no index", path=path)
    if not np.issubdtype(indices.dtype, np.integer) or indices.min() < 0:
        raise DataError("lists something else than whole numbers from 0 on", path=path)
    return Forget(indices=indices.tolist())
