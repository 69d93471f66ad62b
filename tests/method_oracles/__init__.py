"""What each merge method makes of N task vectors, in numpy, written from its paper alone: one file each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from . import conflict, magmax, negmerge, ties, uniform


@dataclass(frozen=True)
class Oracle:
    """merged: τ, the mask of the elements that entered it, and what is counted as not finite.

    thresholds: of each model, what its differences must reach; ``None`` for a method without. What
    ``merged`` is given are the task vectors in C and these thresholds.
    """

    merged: Callable[[Sequence[np.ndarray], Sequence[float]], tuple[np.ndarray, np.ndarray, np.ndarray]]
    thresholds: Callable[[Sequence[np.ndarray]], list[float]] | None = None


ORACLES = {
    "negmerge": Oracle(negmerge.merged),
    "uniform": Oracle(uniform.merged),
    "conflict": Oracle(conflict.merged),
    "magmax": Oracle(magmax.merged),
    "ties": Oracle(ties.merged, ties.thresholds),
}
