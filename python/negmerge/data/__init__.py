"""Data sets by the name that a recipe gives, their splits, and what is to be forgotten of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .image_set import ImageSet

#: Functions that load a labelled image set.
DATA_SETS: Registry[Callable[[], ImageSet]] = Registry("data set", __name__, {"digits": ".digits:load"})
