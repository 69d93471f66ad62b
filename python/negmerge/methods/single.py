"""The best single task vector, negated: every pool member is searched, which costs as many searches.

Source: Ilharco et al., Editing Models with Task Arithmetic, ICLR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method
from .merged import MergedVector


def candidates(context: Context) -> Sequence[Candidate]:
    """The task vector of every pool member. A mean of one vector is that vector."""
    return [
        MergedVector(
            context,
            "uniform",
            [member],
            name=f"single-{number:03d}",
            title=f"pool member {number:03d}",
            keep_patch=False,
        )
        for number, member in enumerate(context.pool)
    ]


METHOD = Method("Best task vector", candidates, merges=None, keeps_zeros=True)
