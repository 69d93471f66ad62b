"""Trim, elect sign, disjoint mean (Yadav et al., 2023); the sums of both signs, each by itself, elect.

Thresholds here are each tensor's own, at density 0.2, by sorting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import means

DENSITY = 0.2


def threshold_of(vector: np.ndarray, density: float = DENSITY) -> float:
    """The (D − int(D · density))-th smallest magnitude, NaN being the largest; 0 where that keeps all."""
    rank = vector.size - int(vector.size * density)
    return float(np.sort(np.abs(vector).reshape(-1))[rank - 1]) if rank else 0.0


def thresholds(vectors: Sequence[np.ndarray]) -> list[float]:
    return [threshold_of(vector) for vector in vectors]


def merged(
    vectors: Sequence[np.ndarray], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    zero = np.zeros((), vectors[0].dtype)
    with np.errstate(all="ignore"):
        trimmed = [
            np.where(np.abs(vector) >= limit, vector, np.where(np.isnan(vector), vector, zero))
            for vector, limit in zip(vectors, thresholds, strict=True)
        ]
        broken = np.logical_or.reduce([np.isnan(vector) for vector in trimmed])
        up = means.total([np.zeros_like(zero), *(np.where(vector > 0, vector, zero) for vector in trimmed)])
        down = means.total([np.zeros_like(zero), *(np.where(vector < 0, vector, zero) for vector in trimmed)])
        votes_up = sum((vector > 0).astype(zero.dtype) for vector in trimmed)
        votes_down = sum((vector < 0).astype(zero.dtype) for vector in trimmed)
        elected = np.where(broken, np.full((), np.nan, zero.dtype), up + down)
        mean = np.where(elected > 0, up / votes_up, np.where(elected < 0, down / votes_down, zero))
        mean = np.where(np.isnan(elected), elected, mean).astype(zero.dtype)
    keep = np.isnan(elected) | (elected != 0)
    return mean, keep, ~np.isfinite(elected)
