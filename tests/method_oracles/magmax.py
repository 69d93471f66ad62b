"""The entry of largest magnitude, of equal ones the last (Marczak et al., 2024); a NaN among them stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import means


def merged(
    vectors: Sequence[np.ndarray], thresholds: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    stacked = np.stack(list(vectors))
    magnitudes = np.abs(stacked)
    with np.errstate(invalid="ignore"):
        largest = np.fmax.reduce(magnitudes)
        candidates = magnitudes == largest
    last = len(stacked) - 1 - np.argmax(candidates[::-1], axis=0)
    chosen = np.take_along_axis(stacked, last[None], axis=0)[0]
    missing = np.isnan(stacked).any(axis=0)
    chosen = np.where(missing, np.full((), np.nan, chosen.dtype), chosen)
    keep = missing | (chosen != 0)
    return means.where(keep, chosen), keep, ~np.isfinite(chosen)
