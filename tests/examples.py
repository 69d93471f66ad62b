"""How many examples a property is tried on."""

from __future__ import annotations

from buffers import TIGHT
from hypothesis import settings


def examples(count: int) -> settings:
    """So many; a quarter of them in a sanitised build, where each takes ten times as long."""
    return settings(max_examples=count // 4 if TIGHT else count)
