"""Whole processes: their time, their peak memory and their end, which is at the latest this program's."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .timing import Measurement

#: Bytes of an error message that are shown.
_TOLD = 2000
#: Seconds that processes have for ending by themselves.
_GRACE = 5.0


@dataclass(frozen=True)
class Finished:
    """seconds: from start to end. peak: largest resident set in bytes. stdout: what was printed."""

    seconds: float
    peak: int
    stdout: bytes


class FailedError(RuntimeError):
    """A process ended with an error; the message has the end of what it printed."""


@contextmanager
def cleaned_up() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP end the program by an exception, as SIGINT does.

    So processes that were started and files that were made for the time being go with it. A signal that is
    ignored or handled already is left alone.
    """
    fatal = [number for number, handler in _handlers().items() if handler is signal.SIG_DFL]
    for number in fatal:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in fatal:
            signal.signal(number, signal.SIG_DFL)


def run(command: Sequence[object], *, env: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end, in a session of its own; :class:`FailedError` if it fails.

    If this program is ended meanwhile, the whole session is.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    with cleaned_up(), tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = None
        begin = time.perf_counter()
        try:
            with _signals_held_back():
                child = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=errors,
                    env=environment,
                    start_new_session=True,
                )
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            if child is not None:
                _stop(child)
            raise
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if child.returncode:
            errors.seek(0)
            told = errors.read().decode(errors="replace")[-_TOLD:]
            raise FailedError(f"{' '.join(words[:4])} … ended with {child.returncode}\n{told}")
        return Finished(seconds, usage.ru_maxrss * 1024, output.read())


def process(
    command: Sequence[object],
    before: Callable[[], object] = lambda: None,
    *,
    env: Mapping[str, str] | None = None,
) -> Measurement:
    """Time a process; ``before`` is not timed."""

    def measure() -> float:
        before()
        return run(command, env=env).seconds

    return measure


def peak(command: Sequence[object]) -> int:
    """Largest resident set of a command, in bytes.

    Linux counts what the parent held when it started a process into that process's peak, so a parent that
    measures memory must stay small; a peak that could be the parent's own is refused.
    """
    found, own = run(command).peak, _own_peak()
    if found <= own:
        raise RuntimeError(f"this process held up to {own} bytes; a peak of {found} may be its own")
    return found


def _own_peak() -> int:
    """Largest resident set of this process since it became this program."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kibibytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


def in_child(work: Callable[..., None], *arguments: Any) -> None:
    """Call ``work`` in a fresh process, so that what it imports and allocates is gone afterwards."""
    child = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    with cleaned_up():
        try:
            with _signals_held_back():
                child.start()
            child.join()
        except BaseException:
            if child.pid is not None:
                child.kill()
                child.join()
            raise
    if child.exitcode:
        sys.exit(f"{work.__name__} failed")


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Signals are handled after the block: a process that it starts is known then, and can be ended."""
    came: list[int] = []
    held = {number: handler for number, handler in _handlers().items() if callable(handler)}
    for number in held:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)
        for sent in came:
            signal.raise_signal(sent)


def _handlers() -> dict[signal.Signals, Any]:
    """What the signals that end programs do, as far as this thread can change that."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}


def _end(number: int, _: object) -> None:
    """Handle a signal; another one does not disturb the cleaning up."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _stop(leader: subprocess.Popen[bytes]) -> None:
    """End the session of a process that leads it, by force what does not end."""
    try:
        os.killpg(leader.pid, signal.SIGTERM)
        leader.wait(_GRACE)
    except (ProcessLookupError, subprocess.TimeoutExpired):
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
