"""A folder that one process at a time works in."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from negmerge_ext.errors import OutputError

from .errors import BusyError


@contextmanager
def locked(folder: Path, *, use: str, busy: str, remedy: str | None = None) -> Iterator[None]:
    """Make the folder, and keep other processes out of it, within the block.

    use: what it cannot do if it cannot be made or opened, which is an
    :class:`~negmerge_ext.errors.OutputError`. busy: the message of the
    :class:`~negmerge.errors.BusyError` if another process is in.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as problem:
        raise OutputError(f"cannot {use}: {problem.strerror}", path=folder, remedy=remedy) from problem
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(busy, path=folder) from None
        except OSError:
            pass  # some network file systems cannot lock a folder; that is no reason not to work
        yield
    finally:
        os.close(descriptor)
