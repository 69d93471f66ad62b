"""NegMerge: the mean of the task vectors where all of them have the same sign, negated.

Source: Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method
from .merged import MergedVector

TITLE = "NegMerge"


def candidates(context: Context) -> Sequence[Candidate]:
    """The whole pool's sign-consensual vector."""
    return [MergedVector(context, "negmerge", context.pool, name="negmerge", title=TITLE, keep_patch=True)]


METHOD = Method(TITLE, candidates, merges=("negmerge",))
