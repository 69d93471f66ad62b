"""The sign agreement that independent random signs would have."""

from __future__ import annotations

import math

import numpy as np


def by_chance(models: int) -> np.ndarray:
    """Probability that the larger camp of ``models`` fair coins has h members, h = 0…models."""
    chance = np.zeros(models + 1)
    for heads in range(models + 1):
        ways = math.lgamma(models + 1) - math.lgamma(heads + 1) - math.lgamma(models - heads + 1)
        chance[max(heads, models - heads)] += math.exp(ways - models * math.log(2))
    return chance
