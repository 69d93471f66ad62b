"""How numbers look in tables."""

from __future__ import annotations

from ..metrics.matched_retain import Spread

ABSENT = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in per cent without the sign."""
    return ABSENT if share is None else f"{100 * share:.{digits}f}"


def spread_cell(spread: Spread | None, scale: float, digits: int) -> str:
    """Mean ± standard deviation, in units of 1 / ``scale``; the latter only of several runs."""
    if spread is None:
        return ABSENT
    mean = f"{scale * spread.mean:.{digits}f}"
    return mean if spread.std is None else f"{mean} ± {scale * spread.std:.{digits}f}"


def mebibytes(nbytes: int | None) -> str:
    """Bytes in MiB."""
    return ABSENT if nbytes is None else f"{nbytes / 2**20:,.0f}"
