"""Virtual environments for the tools that are compared with, each its own, made when first needed.

They lie in ``build/benchmarks``. What the running environment has (torch above all) is seen from them, behind
what is installed into them.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
import venv
from pathlib import Path

from .processes import FailedError, run

FOLDER = Path(__file__).resolve().parents[2] / "build" / "benchmarks"


class InstallError(RuntimeError):
    """A tool cannot be installed."""


def environment(requirement: str) -> Path:
    """The folder of programs of an environment with ``requirement`` (``name==version``) installed."""
    folder = FOLDER / f"{requirement}-python{sys.version_info.major}.{sys.version_info.minor}"
    programs, done = folder / "bin", folder / "installed"
    if done.exists():
        return programs
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True, with_pip=False)
    python = programs / "python"
    paths = {"base": str(folder), "platbase": str(folder)}
    lent = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    Path(sysconfig.get_path("purelib", vars=paths), "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", requirement]
    print(f"installing {requirement} into build/benchmarks", file=sys.stderr)
    try:
        run(command)
    except FailedError as problem:
        raise InstallError(f"{requirement} does not install: {problem}") from None
    done.touch()
    return programs
