"""Numbers of bytes as users write them."""

from __future__ import annotations

import re

from .errors import OptionError

_UNITS = {"": 1, "b": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgt", start=1)
    for suffix, base in (("b", 1000), ("ib", 1024))
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def parse_bytes(value: int | str, option: str = "max_memory") -> int:
    """A number of bytes: an integer, or text such as ``"256MiB"`` (powers of 1024) or ``"2GB"`` (of 1000).

    Case does not matter. Raises :class:`~negmerge_ext.errors.OptionError` naming ``option`` for anything
    else, zero and negative numbers included.
    """
    size = 0
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str):
        match = _SIZE.fullmatch(value.strip())
        if match and match[2].lower() in _UNITS:
            size = int(float(match[1]) * _UNITS[match[2].lower()])
    if size <= 0:
        raise OptionError(
            f"{option} must be a positive number of bytes, not {value!r}",
            remedy='Write an integer, or a size such as "256MiB" or "2GB"',
        )
    return size
