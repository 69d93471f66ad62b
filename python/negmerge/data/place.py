"""Where prepared data sets are kept."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """``$NEGMERGE_DATA``, or ``~/.cache/negmerge/data``. Each data set has a folder of its name there."""
    if named := os.environ.get("NEGMERGE_DATA"):
        return Path(named).expanduser()
    return Path.home() / ".cache" / "negmerge" / "data"
