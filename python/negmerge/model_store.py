"""Where models that serve many runs are kept."""

from __future__ import annotations

import os
from pathlib import Path


def model_store() -> Path:
    """``$NEGMERGE_MODELS``, or ``~/.cache/negmerge/models``. Each model has a folder, named by its key."""
    if named := os.environ.get("NEGMERGE_MODELS"):
        return Path(named).expanduser()
    return Path.home() / ".cache" / "negmerge" / "models"
