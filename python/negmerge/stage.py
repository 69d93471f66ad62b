"""What a finished stage of a run came to, unless its record is damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .declared import as_declared
from .run_folder import Artefact

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cost:
    """What is recorded of a training beside its checkpoint."""

    seconds: float


def finished(artefact: Artefact, key: str, make: Callable[[dict[str, Any]], T]) -> T | None:
    """What ``make`` makes of the facts recorded under ``key``; ``None`` if the stage is to be done again.

    A record that does not fit counts as none: what it stood for can be computed again.
    """
    facts = artefact.finished(key)
    if facts is None:
        return None
    try:
        return as_declared(make, facts)
    except ValueError:
        return None


def training_cost(artefact: Artefact, key: str) -> Cost | None:
    """:func:`finished`, of a training."""
    return finished(artefact, key, lambda facts: Cost(**facts))
