"""What a merge is asked to do: method, scale, mode, which tensors, output dtype."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from numbers import Real

import numpy as np

from . import dtypes
from .errors import OptionError
from .methods import Method
from .methods import get as get_method

#: Codes of ``csrc/arithmetic.h``.
MODES = {"negate": 0, "add": 1, "vector": 2}

#: BatchNorm's running statistics are averages of activations, not trained weights. Fine-tuning moves
#: them all the same way, so they pass the sign consensus, and extrapolating them ruins the model (a
#: variance can even turn negative). They stay the base's unless ``include`` is given.
RUNNING_STATISTICS = ("running_mean", "*.running_mean", "running_var", "*.running_var")

#: λ is rounded to the compute type, where it must not become infinite.
_LARGEST_SCALE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for, checked.

    ``include`` / ``exclude`` are glob patterns (case-sensitive ``fnmatch``) on whole tensor names;
    ``include=None`` stands for everything but :data:`RUNNING_STATISTICS`.
    """

    method: Method
    scale: float
    mode: str
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    out_dtype: str | None = None

    @classmethod
    def parse(
        cls,
        *,
        method: str | Method = "negmerge",
        scale: float = 1.0,
        mode: str = "negate",
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        out_dtype: object = None,
    ) -> Options:
        """Check the user's words; :class:`OptionError` or :class:`DtypeError` name what is off."""
        if not isinstance(mode, str) or mode not in MODES:
            raise OptionError(f"no mode is called {mode!r}", remedy=f"Use one of {', '.join(MODES)}")
        return cls(
            method=get_method(method),
            scale=_scale(scale),
            mode=mode,
            include=_patterns("include", include),
            exclude=_patterns("exclude", exclude),
            out_dtype=None if out_dtype is None else dtypes.parse(out_dtype),
        )

    def selects(self, name: str) -> bool:
        """Whether a tensor of this name is to be merged if its dtype allows."""
        return _selects(name, self.include, self.exclude)

    def selected(self, names: tuple[str, ...]) -> np.ndarray:
        """What :meth:`selects` says of each name, as a bool array."""
        return _selected(names, self.include, self.exclude)


def _selects(name: str, include: tuple[str, ...] | None, exclude: tuple[str, ...] | None) -> bool:
    included = not matches(name, RUNNING_STATISTICS) if include is None else matches(name, include)
    return included and not (exclude and matches(name, exclude))


# Merges of one architecture follow one another: the same names are asked about again and again.
@lru_cache(maxsize=4)
def _selected(
    names: tuple[str, ...], include: tuple[str, ...] | None, exclude: tuple[str, ...] | None
) -> np.ndarray:
    chosen = np.array([_selects(name, include, exclude) for name in names], bool)
    chosen.flags.writeable = False
    return chosen


def _scale(value: object) -> float:
    """A real number, or a scalar of numpy or torch that holds one; nothing that merely converts to one."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise OptionError(f"scale must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer may be too large even for fp64
        number = math.inf
    if not math.isfinite(number) or abs(number) > _LARGEST_SCALE:
        raise OptionError(f"scale must be finite, in fp32 too, not {number}")
    return number


def _patterns(option: str, value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    patterns = tuple(value) if isinstance(value, Iterable) else (value,)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise OptionError(f"{option} takes glob patterns, not {pattern!r}")
    return patterns


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether any of the glob patterns matches the whole name."""
    return _matcher(patterns)(name) is not None


@lru_cache(maxsize=256)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    # No pattern matches nothing; an empty alternative would match everything.
    return re.compile("|".join(map(translate, patterns)) or "(?!)").match
