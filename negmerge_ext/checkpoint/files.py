"""Reading byte ranges of more files than may be open at once."""

from __future__ import annotations

import errno
import os
import resource
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import overload

from ..errors import CheckpointError, SourceChangedError
from ..native import ReadError
from .base import SourceFile
from .strided import gather_elements

#: O_NONBLOCK: opening a FIFO must not wait for a writer. Regular files ignore it.
_OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

#: What opening a file that was there before may say.
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)

#: More open files than this gain nothing.
_MOST_OPEN = 1024


def identify(path: str | os.PathLike[str]) -> SourceFile:
    """The regular file at ``path`` (symlinks followed) as it is now.

    Raises :class:`~negmerge_ext.errors.CheckpointError` for anything that cannot be opened and read as one.
    """
    with open_source(path) as (_, file):
        return file


@contextmanager
def open_source(path: str | os.PathLike[str]) -> Iterator[tuple[int, SourceFile]]:
    """Open a regular file for reading; gives its descriptor and its identity, taken from that descriptor.

    Raises :class:`~negmerge_ext.errors.CheckpointError` as :func:`identify` does.
    """
    path = Path(path)
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as problem:
        raise _cannot_open(path, problem) from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise CheckpointError("is a folder, a file is needed here", path=path)
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("is not a regular file", path=path, remedy="Give a file on disk")
        yield descriptor, _identity(path, status)
    finally:
        os.close(descriptor)


def read_exactly(descriptor: int, file: SourceFile, offset: int, buffer: memoryview) -> None:
    """Fill ``buffer`` with the bytes of ``file`` from ``offset`` on.

    Raises :class:`~negmerge_ext.errors.SourceChangedError` if the file ends before the buffer is full and
    :class:`~negmerge_ext.errors.CheckpointError` if the system reports a read error.
    """
    rest = buffer.cast("B")
    while rest:
        try:
            # One call reads at most about 2 GiB, and network file systems may return less than asked for.
            count = os.preadv(descriptor, [rest], offset)
        except OSError as problem:
            raise _cannot_read(file, offset, problem) from problem
        if count == 0:
            raise _ends(file, offset)
        rest, offset = rest[count:], offset + count


def _cannot_read(file: SourceFile, offset: int, problem: OSError) -> CheckpointError:
    return CheckpointError(f"cannot be read at byte {offset}: {problem.strerror}", path=file.path)


def _ends(file: SourceFile, offset: int) -> SourceChangedError:
    return source_changed(file, f"ends at byte {offset}; it had {file.size} bytes when it was opened")


def source_changed(file: SourceFile, fault: str) -> SourceChangedError:
    """The error for a file that is not what it was when its metadata was read."""
    return SourceChangedError(fault, path=file.path, remedy="Run the merge again when nothing writes to it")


def read_whole(path: Path, *, most: int, kind: str) -> bytes:
    """All bytes of a small file; kind: what it should be.

    Raises :class:`~negmerge_ext.errors.CheckpointError`, also if the file has more than ``most`` bytes.
    """
    with open_source(path) as (descriptor, file):
        if file.size > most:
            raise CheckpointError(f"has {file.size} bytes, too many for {kind}", path=path)
        content = bytearray(file.size)
        read_exactly(descriptor, file, 0, memoryview(content))
    return bytes(content)


class FileReader:
    """Reads from any number of files through a bounded number of descriptors; safe to share by threads.

    The descriptors used last stay open; one in use is never closed. Whenever a file is opened, its size,
    times of change and inode must be those of its :class:`SourceFile`.

    Parameters
    ----------
    max_open: descriptors held at most. ``None``: half of what the process may open, so that the rest of
        the program and other readers have room.
    """

    def __init__(self, max_open: int | None = None) -> None:
        self._max_open = max(1, _default_max_open() if max_open is None else max_open)
        self._handles: OrderedDict[SourceFile, _Handle] = OrderedDict()
        self._open = 0  # descriptors held or about to be opened
        self._free = threading.Condition()

    def __enter__(self) -> FileReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every descriptor. No read may be under way."""
        with self._free:
            while self._handles:
                self._drop(next(iter(self._handles)))

    def read_into(self, file: SourceFile, offset: int, buffer: memoryview) -> None:
        """Fill ``buffer`` (writable, contiguous) with the bytes of ``file`` from ``offset`` on.

        Raises :class:`~negmerge_ext.errors.SourceChangedError` if the file is not what it was or ends too
        early, :class:`~negmerge_ext.errors.CheckpointError` if it cannot be opened or read.
        """
        with self._descriptor(file) as descriptor:
            read_exactly(descriptor, file, offset, buffer)

    def read_elements(
        self,
        file: SourceFile,
        offset: int,
        strides: Sequence[int],
        shape: Sequence[int],
        itemsize: int,
        begin: int,
        end: int,
        buffer: memoryview,
    ) -> None:
        """Gather the elements [begin, end) of a strided tensor, counted in row-major order, into ``buffer``.

        offset: absolute byte of element 0. strides, begin, end: in elements of ``itemsize`` bytes, strides
        not negative. buffer: ``(end - begin) * itemsize`` bytes. Takes up to
        :data:`~negmerge_ext.checkpoint.strided.SCRATCH` more. Raises as :meth:`read_into` does.
        """
        with self._descriptor(file) as descriptor:
            read = partial(read_exactly, descriptor, file)
            gather_elements(read, offset, strides, shape, itemsize, begin, end, buffer)

    @contextmanager
    def reading(self, files: Sequence[SourceFile]) -> Iterator[list[tuple[int, bytes]]]:
        """Let native code read ``files``: their descriptors and paths, for as long as the context lasts.

        Half of the descriptors at most are lent, fewer if the process has no more; a file beyond gets -1, and
        is to be opened for each read.
        Turns a :data:`~negmerge_ext.native.ReadError` into what :meth:`read_into` raises.
        """
        handles = self._lend(files)
        descriptors = [*(handle.descriptor for handle in handles), *repeat(-1, len(files) - len(handles))]
        paths = [os.fsencode(file.path) for file in files]
        try:
            yield list(zip(descriptors, paths, strict=True))
        except ReadError as failure:
            number, offset, code = failure.args
            if code == 0:
                raise _ends(files[number], offset) from None
            problem = OSError(code, os.strerror(code))
            if code in _GONE:
                raise source_changed(files[number], "is gone") from problem
            raise _cannot_read(files[number], offset, problem) from problem
        finally:
            for handle in handles:
                self._release(handle)

    def _lend(self, files: Sequence[SourceFile]) -> list[_Handle]:
        """Handles of the first of ``files``, as many as can be had without waiting."""
        handles: list[_Handle] = []
        try:
            for file in files[: self._max_open // 2]:
                handle = self._acquire(file, wait=False)
                if handle is None:  # room for those that are opened for each read
                    for _ in range((len(handles) + 1) // 2):
                        self._release(handles.pop())
                    with self._free:
                        while self._drop_idle():
                            pass
                    break
                handles.append(handle)
        except BaseException:
            for handle in handles:
                self._release(handle)
            raise
        return handles

    @contextmanager
    def _descriptor(self, file: SourceFile) -> Iterator[int]:
        handle = self._acquire(file)
        try:
            yield handle.descriptor
        finally:
            self._release(handle)

    def _release(self, handle: _Handle) -> None:
        with self._free:
            handle.users -= 1
            self._free.notify()

    @overload
    def _acquire(self, file: SourceFile) -> _Handle: ...
    @overload
    def _acquire(self, file: SourceFile, *, wait: bool) -> _Handle | None: ...
    def _acquire(self, file: SourceFile, *, wait: bool = True) -> _Handle | None:
        """A handle of ``file``; without ``wait``, ``None`` if others must be released first."""
        while True:
            with self._free:
                handle = self._handles.get(file)
                if handle is not None:
                    self._handles.move_to_end(file)
                    handle.users += 1
                    return handle
                if self._open >= self._max_open and not self._drop_idle():
                    if not wait:
                        return None
                    self._free.wait()
                    continue
                self._open += 1
            try:
                descriptor = _reopen(file)  # outside the lock: it can take long on network file systems
            except _TooManyOpenError as problem:
                with self._free:
                    self._open -= 1
                    if self._open == 0:
                        raise _cannot_open(file.path, problem.__cause__) from problem
                    self._max_open = self._open
                continue
            except BaseException:
                with self._free:
                    self._open -= 1
                    self._free.notify()
                raise
            with self._free:
                if file in self._handles:  # another thread was faster
                    os.close(descriptor)
                    self._open -= 1
                    self._free.notify()
                    continue
                handle = self._handles[file] = _Handle(descriptor, users=1)
                return handle

    def _drop_idle(self) -> bool:
        idle = next((file for file, handle in self._handles.items() if not handle.users), None)
        if idle is not None:
            self._drop(idle)
        return idle is not None

    def _drop(self, file: SourceFile) -> None:
        os.close(self._handles.pop(file).descriptor)
        self._open -= 1


@dataclass(slots=True)
class _Handle:
    descriptor: int
    users: int


class _TooManyOpenError(Exception):
    """The process or the system has no descriptor left; its cause is the system's error."""


def _reopen(file: SourceFile) -> int:
    try:
        descriptor = os.open(file.path, _OPEN_FLAGS)
    except OSError as problem:
        if problem.errno in (errno.EMFILE, errno.ENFILE):
            raise _TooManyOpenError from problem
        if problem.errno in _GONE:
            raise source_changed(file, "is gone") from problem
        raise _cannot_open(file.path, problem) from problem
    if _identity(file.path, os.fstat(descriptor)) != file:
        os.close(descriptor)
        raise source_changed(file, "is not the file it was when its header was read")
    # Merges read each file from its beginning to its end. On the disk of a virtual machine the advice changed
    # nothing (cold, 8 models: 0.98 of the time); disks that seek, and network file systems, read ahead more.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    return descriptor


def _identity(path: Path, status: os.stat_result) -> SourceFile:
    return SourceFile(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        ctime_ns=status.st_ctime_ns,
        inode=status.st_ino,
    )


def _default_max_open() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if soft == resource.RLIM_INFINITY else min(soft // 2, _MOST_OPEN)


def _cannot_open(path: Path, problem: BaseException | None) -> CheckpointError:
    if isinstance(problem, FileNotFoundError):
        if path.is_symlink():
            return CheckpointError("is a symbolic link to something that does not exist", path=path)
        return CheckpointError("does not exist", path=path)
    if isinstance(problem, PermissionError):
        return CheckpointError("may not be read", path=path, remedy="Check its permissions")
    reason = problem.strerror if isinstance(problem, OSError) else problem
    return CheckpointError(f"cannot be opened: {reason}", path=path)
