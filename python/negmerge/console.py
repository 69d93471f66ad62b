"""Progress on standard error: a bar with the time left on a terminal, plain lines on a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Stage:
    """A stage under way: steps for the bar, lines for the pipe."""

    def __init__(self, total: int, bar: Progress | None, lines: bool) -> None:
        self._total = total
        self._bar = bar
        self._lines = lines
        self._done = 0
        self._start = time.perf_counter()

    @property
    def seconds_left(self) -> float:
        """About how long the rest takes, if its steps take as long as those that are done."""
        passed = time.perf_counter() - self._start
        return passed / max(self._done, 1) * max(self._total - self._done, 0)

    def advance(self) -> None:
        """One step is done; there may be more of them than was thought."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, total=max(self._done, self._total))

    def line(self, text: str) -> None:
        """Something worth a line where there is no bar."""
        if self._lines:
            print(f"  {text}", file=sys.stderr, flush=True)


class Reporter:
    """Tells how a run goes on; ``quiet`` says nothing. ``worked``: a stage was not finished before."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self.worked = False
        self._console = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        """A stage of about ``total`` steps, and how long it took."""
        self.worked = True
        start = time.perf_counter()
        if self._console.is_terminal and not self._quiet:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self._console, transient=True) as bar:
                bar.add_task(title, total=total)
                yield Stage(total, bar, lines=False)
        else:
            self.note(f"{title} …")
            yield Stage(total, None, lines=not self._quiet)
        self.note(f"{title}: {time.perf_counter() - start:.1f} s")
