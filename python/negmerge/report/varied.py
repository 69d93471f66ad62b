"""In words, what the seeds of several runs change, and what the runs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models import knows_text
from ..results import Results
from .cells import listed


def varied(runs: Sequence[Results]) -> str:
    """A sentence, from what the runs recorded of base and splits; of older runs, from their recipe."""
    first = runs[0]
    methods, pool = len(first.rows) - 1, len(first.pool)
    parts = {
        "base": _bases_differ(runs),
        "splits of the data": _splits_differ(runs),
        "forget set": _forget_sets_differ(first.recipe),
        f"pool of {pool}": True,
    }
    own = [part for part, differs in parts.items() if differs]
    shared = [part for part, differs in parts.items() if differs is False]
    said = (
        f"{methods} method{'' if methods == 1 else 's'} over {len(runs)} "
        f"seed{'' if len(runs) == 1 else 's'}, each with its own {listed(own)}"
    )
    return f"{said}; all have the same {listed(shared)}." if shared else f"{said}."


def _bases_differ(runs: Sequence[Results]) -> bool:
    checksums = {results.base_sha256 for results in runs}
    if None not in checksums:
        return len(checksums) > 1
    # A model of images and text is published, or trained with the seed of its own that a recipe gives it.
    return not knows_text(runs[0].recipe["model"]["name"])


def _splits_differ(runs: Sequence[Results]) -> bool | None:
    """``None`` if that is not known."""
    if all(results.split_keys for results in runs):
        return any(results.split_keys != runs[0].split_keys for results in runs)
    recipe = runs[0].recipe
    differ = [_drawn_by_seed(spec) for spec in (recipe["data"], *(recipe["retain"] or ()))]
    return None if None in differ else any(differ)


def _drawn_by_seed(data: dict[str, Any]) -> bool | None:
    """Whether a split depends on the recipe's seed; by default it does unless the set has published ones."""
    if data["split_seed"] is not None or isinstance(data["validation"], str):
        return False
    return True if data["validation"] is not None or data["test"] is not None else None


def _forget_sets_differ(recipe: dict[str, Any]) -> bool | None:
    """``None`` for what needs no saying: classes, and whole data sets."""
    forget = recipe["forget"]
    if forget is None or forget["fraction"] is None:
        return None
    # SalUn's protocol has a seed of its own for them.
    return bool(recipe["data"]["validation"] != "salun")
