"""Sums and means over models, with one rounding each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def total(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """((δ_1 + δ_2) + δ_3) + …"""
    added = vectors[0]
    with np.errstate(all="ignore"):
        for vector in vectors[1:]:
            added = np.add(added, vector, dtype=added.dtype)
    return np.asarray(added)


def mean(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The total divided by N."""
    added = total(vectors)
    with np.errstate(all="ignore"):
        return np.asarray(np.divide(added, added.dtype.type(len(vectors)), dtype=added.dtype))


def agreed(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Where all differences are positive, or all negative."""
    all_positive = np.logical_and.reduce([vector > 0 for vector in vectors])
    all_negative = np.logical_and.reduce([vector < 0 for vector in vectors])
    return np.asarray(all_positive | all_negative)


def where(keep: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values where kept, +0 elsewhere."""
    return np.where(keep, values, np.zeros((), values.dtype))
