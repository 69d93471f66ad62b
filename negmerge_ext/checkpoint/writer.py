"""Writing an output: made under a hidden name beside its target, resumable, then published at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from ..errors import ResumeError, SourceChangedError, VerificationError
from .disk import (
    copy_file,
    create_file,
    open_file,
    sync_file,
    sync_folder,
    write_all,
    write_beginning,
    write_errors,
    write_text,
)
from .journal import Journal, Position, ResumePoint
from .output import Output
from .publish import publish
from .work_folder import WorkFolder

#: Seconds between two points from which a killed merge can go on.
JOURNAL_SECONDS = 2.0

#: Finished files that may wait for the disk before writing the next one waits too.
_MOST_RETIRED = 4

#: After these, an unfinished output is worth nothing.
_NOT_RESUMABLE = (SourceChangedError, VerificationError)


class Writer:
    """Makes one output: ``begin``, then ``write`` and ``mark``, then ``finish`` and ``publish``.

    A context manager. What has not been published when it ends is removed, unless a journal exists: then it
    stays for a later ``begin(resume=True)``, and the error that ended it gets a note that says so. After a
    failed sync there is none: the system may have dropped what it could not write, and says so only once.

    Parameters
    ----------
    output: what to write.
    digest: identifies the merge and its inputs (:func:`~negmerge_ext.checkpoint.provenance.identity`);
        ``None`` if it cannot be resumed, and then no journal is kept.
    merged: number of merged tensors, whose statistics the journal holds. numel: elements of every tensor.

    Raises :class:`~negmerge_ext.errors.OutputError` if another merge is writing the same output. All methods
    raise it, or :class:`~negmerge_ext.errors.DiskSpaceError`, when the system cannot write.
    """

    def __init__(
        self, output: Output, *, digest: str | None = None, merged: int = 0, numel: Sequence[int] = ()
    ) -> None:
        self._output = output
        self._work = WorkFolder(output.path)
        self._journal = None if digest is None else Journal(self._work.journal, digest, merged, numel)
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="negmerge-sync")
        self._saving: Future[None] | None = None
        self._saved_at = time.monotonic()
        self._retired: list[tuple[Future[None], int]] = []
        self._file, self._descriptor = -1, -1
        self._published = self._lost = False
        #: Bytes written by this object; what a resumed merge found done is not counted.
        self.bytes_written = 0
        #: Where the weights files are while they are being made, in the order of ``output.files``.
        self.paths = [self._work.result]
        if output.folder:
            self.paths = [self._work.result / file.name for file in output.files]

    def begin(self, *, resume: bool = False) -> ResumePoint | None:
        """Reserve the space on a disk and write the headers, or find the point to go on from.

        ``None``: from the start. Raises :class:`~negmerge_ext.errors.ResumeError` if an unfinished output
        belongs to another merge.
        """
        point = self._resume_point() if resume else None
        if point is None:
            self._reserve_files()
        # When going on as well: a journal does not promise that these are on the disk.
        self._write_all_but_tensors()
        return point

    def write(self, file: int, offset: int, data: memoryview) -> None:
        """Write ``data`` (bytes) at an absolute offset of ``output.files[file]``; best in file order."""
        with write_errors(self.paths[file]):
            if file != self._file:
                self._retire()
                self._descriptor = open_file(self.paths[file])
                self._file = file
            write_all(self._descriptor, data, offset)
        self.bytes_written += len(data)

    def mark(self, position: Position, rows: np.ndarray) -> None:
        """Everything before ``position`` is written, with these statistics; now and then, journal that.

        Making the data durable happens in a thread of its own, beside further writing.
        """
        if self._journal is None or self._file < 0:
            return
        if self._saving is not None:
            if not self._saving.done():
                return
            self._saving.result()
        if time.monotonic() - self._saved_at >= JOURNAL_SECONDS:
            point = ResumePoint(position, rows.copy())
            retired = [future for future, _ in self._retired]
            self._saving = self._saver.submit(self._save, self._file, self._descriptor, retired, point)

    def finish(self, position: Position, rows: np.ndarray) -> None:
        """Make everything durable; ``position`` is the end of the plan."""
        self._retire()
        for retired, _ in self._retired:
            retired.result()
        if self._saving is not None:
            self._saving.result()
        folder = self._output.folder
        files = [self._work.result / name for name in self._output.names] if folder else self.paths
        with self._syncing(self._work.result):
            for path in files:
                sync_file(path)
            for parent in {path.parent for path in (*files, self._work.result, self._work.path)}:
                sync_folder(parent)
        if self._journal is not None:
            with write_errors(self._journal.path):
                self._journal.save(ResumePoint(position, rows), inode_of(self._work.result))

    def publish(self) -> None:
        """Put the finished output in its place."""
        with write_errors(self._output.path):
            publish(self._work)
        self._published = True

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._saver.shutdown(cancel_futures=True)
        for retired, descriptor in self._retired:
            if retired.cancelled():
                os.close(descriptor)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        resumable = self._journal is not None and self._journal.path.exists() and not self._lost
        if self._published or not resumable or isinstance(value, _NOT_RESUMABLE):
            self._work.remove(published=self._published)
            return
        self._work.unlock()
        if value is not None and not isinstance(value, ResumeError):
            _add_note(
                value,
                f"The unfinished output is kept in {self._work.path}: the same merge with resume "
                "(--resume) goes on from there, without it starts over.",
            )

    def _resume_point(self) -> ResumePoint | None:
        saved = None if self._journal is None else self._journal.load()
        if saved is None:
            return None
        point, inode = saved
        sizes = [path.stat().st_size if path.is_file() else None for path in self.paths]
        expected = [file.layout.size for file in self._output.files]
        if sizes != expected or inode_of(self._work.result) != inode:
            raise ResumeError(
                "is not what its journal says",
                path=self._work.result,
                remedy="Merge without resume (--resume) to start over",
            )
        return point

    def _reserve_files(self) -> None:
        with write_errors(self._work.result):
            self._work.clear()
            if self._output.folder:
                self._work.result.mkdir()
        for path, file in zip(self.paths, self._output.files, strict=True):
            with write_errors(path):
                create_file(path, file.layout.size)

    def _write_all_but_tensors(self) -> None:
        for path, file in zip(self.paths, self._output.files, strict=True):
            with write_errors(path):
                write_beginning(path, file.layout.header)
        result = self._work.result
        for name, text in self._output.texts.items():
            with write_errors(result / name):
                write_text(result / name, text)
        for name, source in self._output.companions.items():
            with write_errors(result / name):
                copy_file(source, result / name)
        tensors = sum(file.layout.size - len(file.layout.header) for file in self._output.files)
        self.bytes_written = self._output.nbytes - tensors

    def _retire(self) -> None:
        """Close the file written to last, once a thread of its own has made it durable."""
        if self._descriptor < 0:
            return
        if len(self._retired) >= _MOST_RETIRED:
            self._retired[0][0].result()
            del self._retired[0]
        retired = self._saver.submit(self._sync_and_close, self._file, self._descriptor)
        self._retired.append((retired, self._descriptor))
        self._file, self._descriptor = -1, -1

    def _sync_and_close(self, file: int, descriptor: int) -> None:
        try:
            with self._syncing(self.paths[file]):
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _syncing(self, path: Path) -> Iterator[None]:
        try:
            with write_errors(path):
                yield
        except OSError:
            # At once, as this process may be killed before it ends in order.
            self._lost = True
            if self._journal is not None:
                self._journal.remove()
            raise

    def _save(self, file: int, descriptor: int, retired: list[Future[None]], point: ResumePoint) -> None:
        assert self._journal is not None
        for earlier in retired:  # they are done, as one thread does all; a file not synced is an error
            earlier.result()
        with self._syncing(self.paths[file]):
            os.fdatasync(descriptor)
        with write_errors(self._journal.path):
            self._journal.save(point, inode_of(self._work.result))
        self._saved_at = time.monotonic()


def inode_of(path: Path) -> int:
    """The inode number of a file or folder, -1 if it is not there."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


def _add_note(problem: BaseException, note: str) -> None:
    """``BaseException.add_note``, for Python 3.10 too (where only programs that look for notes show them)."""
    problem.__notes__ = [*getattr(problem, "__notes__", []), note]
