"""The command line as a process, as fast to start as where pip installed it."""

from __future__ import annotations

import compileall
import sys
from importlib.util import find_spec


def negmerge(*arguments: object) -> list[object]:
    """The command that runs ``negmerge`` with these arguments."""
    return [sys.executable, "-m", "negmerge", *arguments]


def compile_packages() -> None:
    """Leave bytecode beside the sources of both packages, as pip does.

    Sources that are used in place have none where Python may not write it (``PYTHONDONTWRITEBYTECODE``), and
    every process would compile them anew.
    """
    for name in ("negmerge_ext", "negmerge"):
        spec = find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            compileall.compile_dir(folder, quiet=1)
