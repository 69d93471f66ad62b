"""Python programs in processes of their own, which import what the running test imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parent


def import_path() -> str:
    """``PYTHONPATH`` of a process that can import the product, the helpers and the tests of the kernels."""
    entries = [*(entry for entry in sys.path if entry), str(_TESTS), str(_TESTS / "negmerge_ext")]
    return os.pathsep.join(entries)


def start_program(source: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start ``python -c source arguments``."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *arguments],
        env=os.environ | {"PYTHONPATH": import_path()} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
