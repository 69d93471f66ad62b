"""The command line ``negmerge``: one file per command; nothing heavy is imported before it is needed."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line on ``sys.argv`` and exit with the code that ``negmerge --help`` lists."""
    try:
        _run()
    except KeyboardInterrupt:  # before a command had begun, or after its end; commands tell of theirs
        sys.exit(130)


def _run() -> None:
    try:
        from .app import app
    except ModuleNotFoundError as missing:
        if missing.name != "typer":
            raise
        print(
            "negmerge: the command line needs typer and rich: pip install 'negmerge_ext[cli]'",
            file=sys.stderr,
        )
        sys.exit(2)

    from .stopping import exit_code_of, stop_on_signals, stopped_by

    stop_on_signals()
    try:
        app(prog_name="negmerge")
    except (Exception, SystemExit) as end:
        # Outside commands, which tell of theirs, a signal may come out as another exception.
        stop = stopped_by()
        if stop is None or (isinstance(end, SystemExit) and end.code in (0, None)):
            raise
        sys.exit(exit_code_of(stop))
    finally:
        # The interpreter's last collections would visit every object, and the process is over: 28 to 8 ms.
        gc.freeze()
