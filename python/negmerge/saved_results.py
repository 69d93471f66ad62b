"""Reading the results of a finished run."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from .declared import as_declared
from .errors import DataError
from .recipe import Recipe
from .results import Results
from .run_folder import RunFolder


def read_results(root: Path) -> Results:
    """The results in the folder of a run.

    Raises :class:`~negmerge.errors.DataError` if there are none, or something in them does not fit.
    """
    path = RunFolder(root).results
    try:
        return _checked(as_declared(Results.from_dict, json.loads(path.read_text(encoding="utf-8"))))
    except OSError as problem:
        raise DataError(
            f"holds no results: {problem.strerror}", path=path, remedy="Finish its run with negmerge unlearn"
        ) from problem
    except ValueError as problem:
        raise DataError(
            f"are not results that this version wrote: {problem}",
            path=path,
            remedy="Run it again with negmerge unlearn",
        ) from problem


def _checked(results: Results) -> Results:
    """Raise :class:`ValueError` for what no run finds."""
    if not results.rows or results.rows[0].method != "base":
        raise ValueError("rows: the first must be that of the base")
    try:
        Recipe.model_validate(results.recipe)
    except ValidationError as problem:
        first = problem.errors()[0]
        raise ValueError(f"recipe.{'.'.join(map(str, first['loc']))}: {first['msg']}") from problem
    return results
