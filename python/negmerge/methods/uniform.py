"""Uniform mean of all task vectors, negated.

Source: Wortsman et al., Model soups, ICML 2022; Ilharco et al., Editing Models with Task Arithmetic, ICLR
2023.
"""

from __future__ import annotations

from collections.abc import Sequence

from .interface import Candidate, Context, Method
from .merged import MergedVector

TITLE = "Uniform mean"


def candidates(context: Context) -> Sequence[Candidate]:
    """The whole pool's mean vector."""
    return [MergedVector(context, "uniform", context.pool, name="uniform", title=TITLE, keep_patch=True)]


METHOD = Method(TITLE, candidates, merges=("uniform",))
