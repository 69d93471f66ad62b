"""Statistics of samples that were taken in interleaved rounds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

Samples = Mapping[str, Sequence[float]]


def median(samples: Samples, variant: str) -> float:
    """Median seconds of a variant."""
    return statistics.median(samples[variant])


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; of a single value, twice that value."""
    if len(values) < 2:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def ratios(samples: Samples, over: Sequence[str], under: Sequence[str]) -> list[float]:
    """Round by round, the seconds of the variants ``over`` together over those of ``under`` together."""
    rows = zip(_together(samples, over), _together(samples, under), strict=True)
    return [numerator / denominator for numerator, denominator in rows]


def ratio(samples: Samples, over: str, under: str) -> float:
    """Median, over the rounds, of one variant's seconds over another's in the same round."""
    return statistics.median(ratios(samples, [over], [under]))


def fastest(samples: Samples, variants: Iterable[str]) -> str:
    """The variant with the smallest median."""
    return min(variants, key=lambda name: median(samples, name))


def _together(samples: Samples, names: Sequence[str]) -> list[float]:
    return [sum(row) for row in zip(*(samples[name] for name in names), strict=True)]
