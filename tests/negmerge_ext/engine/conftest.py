from __future__ import annotations

import pytest

from negmerge_ext.engine import budget


@pytest.fixture
def buffers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``max_memory`` count nothing but frames and tables, so that a few kilobytes are a budget."""
    for name in ("_RESERVE", "_SCRATCH", "_PER_MODEL", "_PER_TENSOR", "_GATHERS"):
        monkeypatch.setattr(budget, name, 0)
