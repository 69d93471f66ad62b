"""Taking archives apart, without letting them write outside their folder."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from ...errors import DataError
from .packages import run_tool


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar, zip or Debian archive into a folder; any other file is copied there.

    Raises :class:`~negmerge.errors.DataError` if it cannot be unpacked.
    """
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
        elif archive.name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
        elif archive.suffix == ".deb":
            run_tool(["dpkg-deb", "-x", str(archive.resolve()), "."], folder, archive.name)
        else:
            shutil.copy(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error) as problem:
        raise DataError(f"cannot be unpacked: {problem}", path=archive) from problem
