"""SHA-256 of files, of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

_PIECE = 1 << 20


def sha256_of(files: Iterable[Path]) -> str:
    """The checksum of the contents of all ``files``, one behind the other."""
    digest = hashlib.sha256()
    for file in files:
        add_file(digest, file)
    return digest.hexdigest()


def add_file(digest: _Hash, file: Path) -> None:
    """Let ``digest`` take in the content of a file."""
    with file.open("rb") as opened:
        while piece := opened.read(_PIECE):
            digest.update(piece)
