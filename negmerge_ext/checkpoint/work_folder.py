"""The hidden folder beside an output in which it is made: one merge at a time, removed when done."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from pathlib import Path

from ..errors import OutputError


class WorkFolder:
    """``.{name}.partial`` next to the target, locked for the life of this object.

    result: where the output is made, a file or a folder. replaced: where an old folder stands for the moment
    in which it is replaced. journal: the journal's path.

    Raises :class:`~negmerge_ext.errors.OutputError` if another process is writing the same output, if the
    folder cannot be made, or if it is not this user's own.
    """

    JOURNAL = "journal.json"

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = work_path(target)
        self.result = self.path / "output"
        self.replaced = self.path / "replaced"
        self.journal = self.path / self.JOURNAL
        self._lock = self._locked()
        try:
            self._finish_exchange()
        except OSError as problem:
            self.unlock()
            raise _cannot_write(target, problem) from problem

    def unlock(self) -> None:
        """Let others continue or replace what is here."""
        os.close(self._lock)

    def clear(self) -> None:
        """Remove the unfinished output and its journal."""
        self._finish_exchange()
        remove(self.journal)
        remove(self.result)
        remove(self.replaced)

    def remove(self, *, published: bool = False) -> None:
        """Remove the folder with everything in it, and unlock.

        The journal goes first: nothing may go on from what is half removed. Of an output that is in its place
        (``published``) it goes last: until then it tells that the output is complete.
        """
        if published:
            remove(self.result)
            remove(self.replaced)
        self.clear()
        shutil.rmtree(self.path, ignore_errors=True)
        self.unlock()

    def _locked(self) -> int:
        lock = self.path / "lock"
        while True:
            try:
                if not is_there(self.path):
                    self.path.mkdir(mode=0o700)
            except FileExistsError:
                continue  # another merge was faster
            except OutputError:
                raise
            except OSError as problem:
                raise _cannot_write(self.path, problem) from problem
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            except FileNotFoundError:
                continue  # its owner finished and removed the folder in between
            except OSError as problem:
                raise _cannot_write(lock, problem) from problem
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                raise OutputError(
                    "is being written by another merge", path=self.target, remedy="Wait for it to end"
                ) from None
            if _same_file(descriptor, lock):
                return descriptor
            os.close(descriptor)

    def _finish_exchange(self) -> None:
        """Put an old folder back whose replacement was cut off between its two renames."""
        if self.replaced.is_dir() and not self.replaced.is_symlink() and not self.target.exists():
            self.replaced.rename(self.target)


def work_path(target: Path) -> Path:
    """The work folder of the output ``target``."""
    return target.with_name(f".{target.name}.partial")


def is_there(work: Path) -> bool:
    """Whether there is a work folder at ``work``.

    Raises :class:`~negmerge_ext.errors.OutputError` if something else has its name, as a link that leads to
    what is not to be touched, or a folder in which somebody else may change what is written.
    """
    try:
        status = work.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise OutputError("is in the way: it is no folder", path=work, remedy="Remove it")
    if status.st_uid != os.geteuid():
        raise OutputError(
            "is in the way: it belongs to another user", path=work, remedy="Remove it, or write elsewhere"
        )
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cannot_write(path: Path, problem: OSError) -> OutputError:
    return OutputError(
        f"cannot be written: {problem.strerror}",
        path=path,
        remedy="Check its permissions, or write elsewhere",
    )


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
