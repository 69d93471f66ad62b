"""The mean of all N where not all agree in sign (Kim et al., 2025, table 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import means


def merged(
    vectors: Sequence[np.ndarray], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keep = ~means.agreed(vectors)
    return means.where(keep, means.mean(vectors)), keep, ~np.isfinite(means.total(vectors))
