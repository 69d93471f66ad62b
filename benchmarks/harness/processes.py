"""Whole processes: their time and their peak memory."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bytes of an error message that are shown.
_TOLD = 2000


@dataclass(frozen=True)
class Finished:
    """seconds: from start to end. peak: largest resident set in bytes. stdout: what was printed."""

    seconds: float
    peak: int
    stdout: bytes


class FailedError(RuntimeError):
    """A process ended with an error; the message has the end of what it printed."""


def run(command: Sequence[object], *, env: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end; :class:`FailedError` if it fails."""
    words = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begin = time.perf_counter()
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment
        )
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if child.returncode:
            errors.seek(0)
            told = errors.read().decode(errors="replace")[-_TOLD:]
            raise FailedError(f"{' '.join(words[:4])} … ended with {child.returncode}\n{told}")
        return Finished(seconds, usage.ru_maxrss * 1024, output.read())


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
    child.start()
    child.join()
    if child.exitcode:
        sys.exit(f"{work.__name__} failed")
