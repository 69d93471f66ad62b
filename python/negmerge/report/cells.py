"""How numbers and names look in tables and sentences."""

from __future__ import annotations

from collections.abc import Sequence

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


def listed(names: Sequence[str]) -> str:
    """At least one name: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
