"""Ctrl-C and SIGTERM end a command: as exceptions, and as a fact that outlives them.

An exception that arrives while a library is in native code may be swallowed there, or come out as another one
that tells nothing of a signal. So that a signal arrived is kept beside it.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Everything that cleans up after Ctrl-C cleans up after this."""


_arrived: type[KeyboardInterrupt] | None = None


def stop_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end a command by an exception.

    Where SIGINT is ignored, as in the background of a shell without job control, it stays so.
    """
    signal.signal(signal.SIGTERM, _terminate)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def stopped_by() -> type[KeyboardInterrupt] | None:
    """What the last signal that was to end the command raised, if one arrived."""
    return _arrived


def exit_code_of(stop: type[KeyboardInterrupt]) -> int:
    """130 for Ctrl-C, 143 for SIGTERM."""
    return 128 + (signal.SIGTERM if issubclass(stop, Terminated) else signal.SIGINT)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    global _arrived
    _arrived = KeyboardInterrupt
    raise KeyboardInterrupt


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    global _arrived
    _arrived = Terminated
    raise Terminated
