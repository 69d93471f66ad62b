"""Putting a finished file or folder in its place at once, so that nobody ever sees half of it."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path

from .disk import sync_folder
from .hf_folder import weights_names
from .work_folder import WorkFolder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def foreign_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Names of what ``folder`` holds besides its own model's weights and the files called ``names``."""
    known = weights_names(folder).union(names)
    return sorted(entry.name for entry in folder.iterdir() if not (entry.is_file() and entry.name in known))


def publish(work: WorkFolder) -> None:
    """Move ``work.result`` to ``work.target``, replacing what is there, and make that durable."""
    if work.result.is_dir() and work.target.exists():
        _exchange(work)
    else:
        work.result.rename(work.target)
    sync_folder(work.target.parent)


def _exchange(work: WorkFolder) -> None:
    if _renameat2(work.result, work.target, _RENAME_EXCHANGE):
        return
    work.target.rename(work.replaced)
    try:
        work.result.rename(work.target)
    except OSError:
        work.replaced.rename(work.target)
        raise


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Call ``renameat2``; False where the system or the file system does not have it."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(target))
