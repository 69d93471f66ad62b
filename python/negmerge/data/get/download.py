"""Files from servers: they give up soon, go on where they stopped, and are checked."""

from __future__ import annotations

import http.client
import shutil
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from negmerge_ext.errors import DiskSpaceError, NegmergeError

from ...errors import ChecksumError, FetchError, NetworkError
from ..routes import Archive
from .checksum import require_published
from .listener import Listener

#: Seconds without an answer after which a server counts as absent: there are other ways to most data sets.
_TIMEOUT = 8
_CHUNK = 1 << 18
_AGAIN = "Try again: a download goes on where it stopped"


def download(archive: Archive, folder: Path, listener: Listener) -> Path:
    """Download a file into a folder, from the first of its servers that has it.

    What was received of it before is not fetched again. Raises :class:`~negmerge.errors.NetworkError`,
    :class:`~negmerge.errors.ChecksumError` or :class:`~negmerge_ext.errors.DiskSpaceError`.
    """
    target, unfinished = folder / archive.name, folder / f"{archive.name}.part"
    problem: NegmergeError = FetchError("no server has it", path=archive.name)
    for url in archive.urls:
        try:
            _receive(url, archive, unfinished, listener)
            require_published(unfinished, archive, url)
        except (NetworkError, ChecksumError) as failed:
            problem = failed
        else:
            return unfinished.replace(target)
    raise problem


def _receive(url: str, archive: Archive, path: Path, listener: Listener) -> None:
    """Append to the file at ``path`` what is missing of ``archive``."""
    have = path.stat().st_size if path.exists() else 0
    if have > archive.size:
        path.unlink()
        have = 0
    if have == archive.size:
        return
    _require_space(archive, archive.size - have, path)
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:
            partial = answer.status == http.client.PARTIAL_CONTENT
            have = have if partial else 0
            with path.open("ab" if partial else "wb") as opened:
                # One byte more than expected is enough to know that it is another file.
                while have <= archive.size and (chunk := _read(answer, url)):
                    opened.write(chunk)
                    have += len(chunk)
                    listener.received(archive.name, have, archive.size)
    except HTTPError as refused:
        refused.close()
        raise NetworkError(f"the server answered {refused.code} {refused.reason}", path=url) from refused
    except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as lost:
        raise _lost(url, lost) from lost
    if have < archive.size:
        raise NetworkError(
            f"the connection ended after {have:,} of {archive.size:,} bytes", path=url, remedy=_AGAIN
        )


def _read(answer: http.client.HTTPResponse, url: str) -> bytes:
    """The next bytes. An error of the socket must not pass for one of the disk."""
    try:
        return answer.read(_CHUNK)
    except (OSError, http.client.HTTPException) as lost:
        raise _lost(url, lost) from lost


def _lost(url: str, problem: Exception) -> NetworkError:
    reason = problem.reason if isinstance(problem, URLError) else problem
    return NetworkError(f"cannot be reached: {reason}", path=url, remedy=_AGAIN)


def _require_space(archive: Archive, needed: int, path: Path) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise DiskSpaceError(
            f"{archive.name} needs {needed:,} bytes, and {free:,} are free",
            path=path.parent,
            remedy="Make room, or choose another data folder (--data-dir, $NEGMERGE_DATA)",
        )
