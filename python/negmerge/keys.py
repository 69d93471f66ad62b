"""Content keys: what a stage's result depends on, as a short text, and the seeds derived from one."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel


def content_key(*parts: Any) -> str:
    """64 hexadecimal digits that change whenever one of ``parts`` (plain data, sections of a recipe) does."""
    text = json.dumps(parts, sort_keys=True, default=_plain, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def derived_seed(*parts: Any) -> int:
    """A seed in [0, 2^32) that depends on ``parts`` alone, not on the order in which seeds are asked for."""
    return int(content_key(*parts)[:8], 16)


def _plain(part: Any) -> Any:
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    raise TypeError(f"{part!r} has no place in a content key")
