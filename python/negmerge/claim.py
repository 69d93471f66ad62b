"""Whose a run's folder is: it belongs to one recipe, and to nobody else's files."""

from __future__ import annotations

import os
from typing import Any

from negmerge_ext.errors import OutputError, OutputExistsError

from .errors import RecipeError
from .recipe import Recipe
from .recipe_file import read_recipe
from .run_folder import RunFolder, appearing_complete

#: Files named at most in one message.
_LISTED = 5

_ELSEWHERE = "Give another folder (-o)"


def claim(folder: RunFolder, recipe: Recipe, text: str, *, overwrite: bool | None) -> None:
    """Make ``folder`` that of ``recipe``, and keep the recipe's ``text`` there.

    Raises what :func:`require_claimable` does, before anything is changed.
    """
    require_claimable(folder, recipe, overwrite=overwrite)
    if _written(folder) == text:
        return
    with appearing_complete(folder.recipe) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def _written(folder: RunFolder) -> str | None:
    """The recipe's text as it is there; ``None`` if it cannot be read."""
    try:
        return folder.recipe.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def require_free(folder: RunFolder) -> None:
    """Raise what beginning to work in the folder would: :class:`~negmerge.errors.BusyError` if another
    process does, :class:`~negmerge_ext.errors.OutputError` if it cannot be made or written to. Nothing is
    made.
    """
    there = next(
        place for place in (folder.root.absolute(), *folder.root.absolute().parents) if place.exists()
    )
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputError(
            "cannot be the folder of a run: it cannot be written to", path=there, remedy=_ELSEWHERE
        )
    if folder.root.is_dir():
        with folder.locked():
            pass


def require_claimable(folder: RunFolder, recipe: Recipe, *, overwrite: bool | None) -> None:
    """Raise :class:`~negmerge_ext.errors.OutputExistsError` if ``folder`` cannot be that of ``recipe``.

    overwrite: it may be another recipe's, whose results are then replaced, or that of a recipe that can no
    longer be read; ``None``: that is nothing that the caller offers.
    """
    there = sorted(path.name for path in folder.root.iterdir())
    if there:
        earlier = _earlier(folder, there, overwrite=overwrite)
        changed = earlier and _changed_keys(earlier.model_dump(mode="json"), recipe.model_dump(mode="json"))
        if changed and not overwrite:
            raise OutputExistsError(
                f"holds the run of a recipe that differs from this one in {', '.join(changed)}",
                path=folder.root,
                remedy=_or_overwrite("to recompute here what changed", overwrite),
            )


def _earlier(folder: RunFolder, there: list[str], *, overwrite: bool | None) -> Recipe | None:
    """The recipe that the folder, in which ``there`` is, belongs to.

    ``None`` if the folder is a run's, the recipe cannot be read, and it may be overwritten.
    """
    try:
        return read_recipe(folder.recipe)[0]
    except RecipeError as problem:
        if folder.recipe.is_file() and folder.has_results:
            if overwrite:
                return None
            raise OutputExistsError(
                f"holds a run whose recipe cannot be read any more: {problem}",
                path=folder.root,
                remedy=f"Mend that file. {_or_overwrite('to go on here with this recipe', overwrite)}",
            ) from problem
        more = ", …" if len(there) > _LISTED else ""
        why = f". Its recipe cannot be read: {problem}" if folder.recipe.is_file() else ""
        raise OutputExistsError(
            f"is no folder of a run, and not empty: it holds {', '.join(there[:_LISTED])}{more}{why}",
            path=folder.root,
            remedy=_ELSEWHERE,
        ) from problem


def _or_overwrite(why: str, overwrite: bool | None) -> str:
    return _ELSEWHERE + ("" if overwrite is None else f", or --overwrite (overwrite=True) {why}")


def _changed_keys(old: Any, new: Any, key: str = "") -> list[str]:
    """The keys, dotted, under which two recipes differ, as plain data."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [key]
    return [
        changed
        for name in {**old, **new}
        for changed in _changed_keys(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    ]
