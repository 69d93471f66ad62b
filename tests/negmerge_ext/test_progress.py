"""Progress: the user's function, a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest
from programs import import_path

from negmerge_ext.progress import in_two_passes, reporting


def test_a_function_is_called_as_it_is() -> None:
    seen: list[tuple[int, int]] = []
    with reporting(lambda done, total: seen.append((done, total))) as report:
        assert report is not None
        report(1, 10)
    assert seen == [(1, 10)]


@pytest.mark.parametrize("progress", [True, False])
def test_nothing_without_a_terminal(progress: bool, capfd: pytest.CaptureFixture[str]) -> None:
    with reporting(progress) as report:
        assert report is None
    assert capfd.readouterr() == ("", "")


def test_two_passes_make_one_progress() -> None:
    seen: list[tuple[int, int]] = []
    first, second = in_two_passes(lambda done, total: seen.append((done, total)))
    assert first is not None
    assert second is not None
    for report in (first, second):
        report(0, 10)
        report(10, 10)
    assert seen == [(0, 20), (10, 20), (10, 20), (20, 20)]
    assert in_two_passes(None) == (None, None)


_PROGRAM = """
import sys
if sys.argv[1] == "without rich":
    sys.modules["rich"] = None
from negmerge_ext.progress import reporting
with reporting(True) as report:
    if report is None:
        print("nothing to report to")
    else:
        report(3 << 30, 4 << 30)
        report(4 << 30, 4 << 30)
print("over")
"""


def on_a_terminal(*arguments: str) -> tuple[str, str]:
    """Standard output of the program, and what its standard error shows on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env=os.environ | {"PYTHONPATH": import_path(), "COLUMNS": "100", "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=slave,
        text=True,
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not part:
            break
        shown += part
    os.close(master)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown
    return output, shown.decode()


def test_a_bar_on_a_terminal() -> None:
    pytest.importorskip("rich")
    output, shown = on_a_terminal("with rich")
    assert output == "over\n"
    assert re.search(r"100%.*4\.0/4\.0 GiB", shown)


def test_no_bar_without_rich() -> None:
    assert on_a_terminal("without rich") == ("nothing to report to\nover\n", "")
