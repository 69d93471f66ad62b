"""Whether plain data that was read makes a dataclass as it is declared."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")


def as_declared(make: Callable[[dict[str, Any]], T], plain: dict[str, Any]) -> T:
    """What ``make``, the inverse of :func:`dataclasses.asdict`, makes of ``plain``.

    Raises :class:`ValueError`, which names the place, if something is missing or of another type than the
    dataclass declares.
    """
    try:
        made = make(plain)
        text = json.dumps(asdict(made), allow_nan=False)  # type: ignore[call-overload]
    except KeyError as problem:
        raise ValueError(f"{problem} is missing") from problem
    except (TypeError, AttributeError) as problem:
        raise ValueError(str(problem)) from problem
    try:
        TypeAdapter(type(made)).validate_json(text, strict=True)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}") from problem
    return made
