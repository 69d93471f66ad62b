"""Symbolic links in a model folder: where they may lead."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CheckpointError


def followed(path: Path) -> Path:
    """Where the file ``path`` of a model folder really is.

    A link in a downloaded folder is its author's, and must not reach the user's other files. It may lead to
    another place in the folder, or from the snapshots of a Hugging Face cache to the blobs beside them:
    ``snapshots/<revision>/config.json -> ../../blobs/<hash>``. Raises
    :class:`~negmerge_ext.errors.CheckpointError` if it leads to a file anywhere else. What is no file is left
    to whoever opens it.
    """
    real, folder = Path(os.path.realpath(path)), Path(os.path.realpath(path.parent))
    blobs = [parent.parent / "blobs" for parent in folder.parents if parent.name == "snapshots"]
    if real.is_file() and not real.is_relative_to(folder) and real.parent not in blobs:
        raise CheckpointError(
            f"is a symbolic link that leaves its folder, to {real}",
            path=path,
            remedy="If that file is meant, put it in the link's place",
        )
    return real
