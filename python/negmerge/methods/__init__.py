"""Unlearning methods, one file each, by the name that a recipe gives. :mod:`.interface` says what one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .interface import Method

METHODS: Registry[Method] = Registry(
    "method",
    __name__,
    {
        "retrain": ".retrain:METHOD",
        "single": ".single:METHOD",
        "uniform": ".uniform:METHOD",
        "greedy": ".greedy:METHOD",
        "ties": ".ties:METHOD",
        "magmax": ".magmax:METHOD",
        "conflict": ".conflict:METHOD",
        "negmerge": ".negmerge:METHOD",
    },
)

#: The method whose model the others are compared with, in a run that has it.
REFERENCE = "retrain"
