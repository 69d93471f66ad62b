"""TIES: task vectors trimmed to their largest 20 %, those with the sign of their sum averaged, negated.

Source: Yadav et al., TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method
from .merged import MergedVector

TITLE = "TIES"


def candidates(context: Context) -> Sequence[Candidate]:
    """The whole pool's TIES vector, its thresholds over the whole model as in the paper's own code."""
    return [
        MergedVector(
            context, "ties:density=0.2,per=model", context.pool, name="ties", title=TITLE, keep_patch=True
        )
    ]


METHOD = Method(TITLE, candidates, merges=("ties:density=0.2,per=model",))
