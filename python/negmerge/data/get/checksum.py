"""Whether a file is the one that was published."""

from __future__ import annotations

from pathlib import Path

from ...errors import ChecksumError
from ...file_checksum import sha256_of
from ..routes import Archive


def is_published(path: Path, archive: Archive) -> bool:
    """Whether the file at ``path`` is there, and is ``archive``."""
    return path.is_file() and path.stat().st_size == archive.size and sha256_of([path]) == archive.sha256


def require_published(path: Path, archive: Archive, origin: str) -> None:
    """Raise :class:`~negmerge.errors.ChecksumError` and remove the file if it is not ``archive``."""
    size = path.stat().st_size
    found = sha256_of([path])
    if (size, found) != (archive.size, archive.sha256):
        path.unlink()
        raise ChecksumError(
            f"{archive.name} is not the published file: {size:,} bytes with SHA-256 {found}, "
            f"expected {archive.size:,} bytes with {archive.sha256}",
            path=origin,
            remedy="It was removed; a proxy may have put a page of its own in its place",
        )
