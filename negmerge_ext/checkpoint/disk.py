"""Writing to disk: reserving, writing and syncing, with errors that say what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskSpaceError, OutputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_RESERVATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into :class:`DiskSpaceError` or :class:`OutputError` about ``path``."""
    try:
        yield
    except OSError as problem:
        if isinstance(problem, (DiskSpaceError, OutputError)):
            raise
        if problem.errno in _FULL:
            raise DiskSpaceError(
                f"does not fit: {problem.strerror}", path=path, remedy="Free space, or write to another disk"
            ) from problem
        raise OutputError(
            f"cannot be written: {problem.strerror or problem}",
            path=path,
            remedy="Check its folder's permissions and limits, or write elsewhere",
        ) from problem


def open_file(path: Path, flags: int = 0) -> int:
    """Open a file, never one that a symbolic link in its place leads to; new ones honour the umask."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o666)


def create_file(path: Path, size: int) -> None:
    """Make a new file of ``size`` bytes, all of them reserved if it is on a disk."""
    descriptor = open_file(path, os.O_CREAT | os.O_EXCL)
    try:
        _reserve(descriptor, size)
    finally:
        os.close(descriptor)


def write_beginning(path: Path, content: bytes) -> None:
    """Write the first bytes of a file that is there."""
    descriptor = open_file(path)
    try:
        write_all(descriptor, memoryview(content), 0)
    finally:
        os.close(descriptor)


def write_text(path: Path, content: bytes) -> None:
    """Make a file hold ``content`` and nothing else."""
    with os.fdopen(open_file(path, os.O_CREAT | os.O_TRUNC), "wb") as file:
        file.write(content)


def copy_file(source: Path, path: Path) -> None:
    """Make a file hold what ``source`` holds."""
    with source.open("rb") as found, os.fdopen(open_file(path, os.O_CREAT | os.O_TRUNC), "wb") as file:
        shutil.copyfileobj(found, file)


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``, in as many calls as the system needs."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = open_file(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno != errno.EINVAL:  # some network file systems have nothing to sync in a folder
            raise
    finally:
        os.close(descriptor)


def free_bytes(folder: Path) -> int | None:
    """Bytes that may be written to the file system of ``folder``; ``None`` if it does not say."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize if status.f_blocks else None


def _reserve(descriptor: int, size: int) -> None:
    # A file system in memory would make every page, which takes as long as writing all, before anything else.
    if not _in_memory(descriptor):
        try:
            os.posix_fallocate(descriptor, 0, size)
            return
        except OSError as problem:
            if problem.errno not in _NO_RESERVATION:
                raise
    os.ftruncate(descriptor, size)


def _in_memory(descriptor: int) -> bool:
    """Whether a file lies in tmpfs; not known where the system does not say, as outside Linux."""
    device = os.fstat(descriptor).st_dev
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    where = f"{os.major(device)}:{os.minor(device)}"
    return any(line.split(" ")[2] == where and " - tmpfs " in line for line in mounts)
