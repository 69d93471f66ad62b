"""The mean of the task vectors exactly where NegMerge keeps nothing, negated: what their conflicts do.

Source: Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025, table 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method
from .merged import MergedVector

TITLE = "Conflict only"


def candidates(context: Context) -> Sequence[Candidate]:
    """The whole pool's mean vector without its sign-consensual part."""
    return [MergedVector(context, "conflict", context.pool, name="conflict", title=TITLE, keep_patch=True)]


METHOD = Method(TITLE, candidates, merges=("conflict",))
