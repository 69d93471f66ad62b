"""What a classifier is made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """Images and classes.

    channels, side: of the images, as the data set has them. mean, std: of their pixels per channel, in units
    of full white.
    """

    channels: int
    side: int
    classes: int
    mean: Sequence[float]
    std: Sequence[float]
