"""The mean everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import means


def merged(
    vectors: Sequence[np.ndarray], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    keep = np.ones(vectors[0].shape, bool)
    return means.where(keep, means.mean(vectors)), keep, ~np.isfinite(means.total(vectors))
