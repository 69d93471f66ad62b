"""From exceptions to one clear message on stderr and an exit code."""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec

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
from .stopping import Terminated, exit_code_of, stopped_by

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
            stop = stopped_by()
            raise typer.Exit(FAILED if stop is None else exit_code_of(stop)) from None
        except (Exception, KeyboardInterrupt) as raised:
            if _tracebacks:
                traceback.print_exc()
            problem = _cause(raised)
            code = exit_code(problem)
            if kwargs.get("as_json"):
                print(json.dumps({"error": _as_dict(problem) | {"exit_code": code}}), file=sys.stderr)
            else:
                print(f"negmerge: {text.printable(describe(problem))}", file=sys.stderr)
            raise typer.Exit(code) from None

    return run


def _cause(raised: Exception | KeyboardInterrupt) -> Exception | KeyboardInterrupt:
    """``raised``, or the signal that arrived before it, which it is taken for a consequence of."""
    stop = stopped_by()
    if stop is None or isinstance(raised, KeyboardInterrupt):
        return raised
    problem = stop()
    problem.add_note(f"It came out as {type(raised).__name__}: {raised}")
    return problem


def exit_code(problem: BaseException) -> int:
    """The exit code that an exception stands for."""
    if isinstance(problem, KeyboardInterrupt):
        return exit_code_of(type(problem))
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
