"""From exceptions to one clear message on stderr and an exit code."""

from __future__ import annotations

import functools
import json
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, ParamSpec

import typer

from negmerge_ext.errors import (
    InputError,
    NegmergeError,
    OptionError,
    OutputExistsError,
    VerificationError,
)

from . import text
from .show import drop_stdout

FAILED, USAGE, BAD_INPUT, OUTPUT_EXISTS, NOT_VERIFIED = 1, 2, 3, 4, 5

#: Listed by ``negmerge --help``.
EXIT_CODES = """\
Exit codes:
  0  done
  1  failed while running: reading, writing, disk full, resuming another merge
  2  wrong use: arguments, an option's value, an extra that is not installed
  3  bad input: checkpoints that are malformed or do not fit; nothing written
  4  the output exists; nothing written
  5  verification failed; the output was not put in place
  130, 143  stopped by Ctrl-C, by SIGTERM"""

#: First match wins: the narrower class stands before the wider one.
_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (OptionError, USAGE),
    (OutputExistsError, OUTPUT_EXISTS),
    (VerificationError, NOT_VERIFIED),
    (InputError, BAD_INPUT),
    (Exception, FAILED),
)

#: The extra that brings a module that may be missing.
_EXTRAS = {
    "rich": "cli",
    "matplotlib": "cli",
    "pydantic": "pipeline",
    "yaml": "pipeline",
    "sklearn": "pipeline",
    "PIL": "pipeline",
    "jinja2": "pipeline",
    "torchvision": "vision",
    "open_clip": "vision",
}

_tracebacks = False

P = ParamSpec("P")


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Everything that cleans up after Ctrl-C cleans up after this."""


def stop_on_sigterm() -> None:
    """Let SIGTERM end a command as cleanly as Ctrl-C does."""

    def terminate(signum: int, frame: FrameType | None) -> NoReturn:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)


def show_tracebacks() -> None:
    """From now on print the traceback above every message."""
    global _tracebacks
    _tracebacks = True


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """``command`` with its exceptions turned into a message and an exit code.

    A command that takes ``as_json`` and got it reports its error as one JSON document.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except BrokenPipeError:
            drop_stdout()
            raise typer.Exit(FAILED) from None
        except (Exception, KeyboardInterrupt) as problem:
            if _tracebacks:
                traceback.print_exc()
            code = exit_code(problem)
            if kwargs.get("as_json"):
                print(json.dumps({"error": _as_dict(problem) | {"exit_code": code}}), file=sys.stderr)
            else:
                print(f"negmerge: {text.printable(describe(problem))}", file=sys.stderr)
            raise typer.Exit(code) from None

    return run


def exit_code(problem: BaseException) -> int:
    """The exit code that an exception stands for."""
    if isinstance(problem, KeyboardInterrupt):
        return 128 + (signal.SIGTERM if isinstance(problem, Terminated) else signal.SIGINT)
    if _missing_extra(problem):
        return USAGE
    return next(code for kind, code in _CODES if isinstance(problem, kind))


def describe(problem: BaseException) -> str:
    """What happened and what to do about it, in one message for people."""
    if isinstance(problem, KeyboardInterrupt) or _missing_extra(problem):
        return _message(problem)
    if isinstance(problem, (NegmergeError, OSError)):
        return f"error: {_message(problem)}"
    hint = "" if _tracebacks else " (negmerge --debug COMMAND … shows where)"
    return f"unexpected error: {_message(problem)}{hint}"


def _message(problem: BaseException) -> str:
    """The same without the words that tell people what kind of message it is."""
    notes = "".join(f". {note}" for note in getattr(problem, "__notes__", ()))
    if isinstance(problem, KeyboardInterrupt):
        how = "stopped by SIGTERM" if isinstance(problem, Terminated) else "interrupted"
        return how + notes
    if extra := _missing_extra(problem):
        return f"{problem}: this command needs an extra: pip install 'negmerge_ext[{extra}]'"
    if isinstance(problem, (NegmergeError, OSError)):
        return f"{problem}{notes}"
    return f"{type(problem).__name__}: {problem}{notes}"


def _missing_extra(problem: BaseException) -> str | None:
    """The extra to install if ``problem`` is the absence of one of its modules."""
    if not isinstance(problem, ModuleNotFoundError):
        return None
    return _EXTRAS.get((problem.name or "").partition(".")[0])


def _as_dict(problem: BaseException) -> dict[str, Any]:
    plain: dict[str, Any] = {"type": type(problem).__name__, "message": _message(problem)}
    if isinstance(problem, NegmergeError):
        plain |= {"path": problem.path, "tensor": problem.tensor}
        plain["problems"] = [
            {"type": type(one).__name__, "message": str(one), "path": one.path, "tensor": one.tensor}
            for one in problem.problems
        ]
    return plain
