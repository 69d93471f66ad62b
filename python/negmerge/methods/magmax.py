"""The entry of largest magnitude among the task vectors, negated.

Source: Marczak et al., MagMax: Leveraging Model Merging for Seamless Continual Learning, ECCV 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method
from .merged import MergedVector

TITLE = "MagMax"


def candidates(context: Context) -> Sequence[Candidate]:
    """The whole pool's largest entries."""
    return [MergedVector(context, "magmax", context.pool, name="magmax", title=TITLE, keep_patch=True)]


METHOD = Method(TITLE, candidates, merges=("magmax",))
