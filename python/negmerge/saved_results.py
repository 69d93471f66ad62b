"""Reading the results of a finished run."""

from __future__ import annotations

import json
from pathlib import Path

from .errors import DataError
from .results import Results
from .run_folder import RunFolder


def read_results(root: Path) -> Results:
    """The results in the folder of a run; :class:`~negmerge.errors.DataError` if there are none."""
    path = RunFolder(root).results
    try:
        return Results.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as problem:
        raise DataError(
            f"holds no results: {problem.strerror}", path=path, remedy="Finish its run with negmerge unlearn"
        ) from problem
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise DataError(
            "are not results that this version wrote", path=path, remedy="Run it again with negmerge unlearn"
        ) from problem
