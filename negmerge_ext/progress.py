"""Progress of a merge between files: a bar on a terminal, a function of the user's, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

#: Takes the bytes of input that are done, and those of all input.
Progress: TypeAlias = Callable[[int, int], None]


@contextmanager
def reporting(progress: bool | Progress) -> Iterator[Progress | None]:
    """What to call while a merge goes on: ``progress`` itself if it is a function, a bar if it is true.

    The bar shows bytes, bytes per second and the time left, on standard error; it appears only if that is a
    terminal and ``rich`` is installed, and is gone when the block ends.
    """
    if callable(progress):
        yield progress
        return
    if not progress or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TaskID,
            TaskProgressColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import Progress as Bar
    except ImportError:
        yield None
        return
    columns = (
        TaskProgressColumn(),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task: TaskID | None = None

        def show(done: int, total: int) -> None:
            nonlocal task
            if task is None:  # what a resumed merge finds done does not count as speed
                task = bar.add_task("", total=total, completed=done)
            bar.update(task, completed=done, total=total)

        yield show


def after(progress: Progress | None, nbytes: int) -> Progress | None:
    """``progress`` for a pass over the input before which ``nbytes`` were read already."""
    if progress is None or nbytes == 0:
        return progress
    return lambda done, total: progress(nbytes + done, nbytes + total)


def in_two_passes(progress: Progress | None) -> tuple[Progress | None, Progress | None]:
    """``progress`` for a first pass over the input, and for a second that follows it."""
    if progress is None:
        return None, None
    return (
        lambda done, total: progress(done, 2 * total),
        lambda done, total: progress(total + done, 2 * total),
    )
