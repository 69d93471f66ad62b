"""The registered merge methods, one file each. Their arithmetic is in ``csrc/methods/``."""

from __future__ import annotations

from difflib import get_close_matches

from ..errors import OptionError
from .conflict import CONFLICT
from .magmax import MAGMAX
from .method import Method, Parameter, Trim
from .negmerge import NEGMERGE
from .ties import TIES
from .uniform import UNIFORM

__all__ = ["Method", "Parameter", "Trim", "get", "methods"]

_REGISTERED = {method.name: method for method in (NEGMERGE, UNIFORM, CONFLICT, MAGMAX, TIES)}


def methods() -> dict[str, Method]:
    """The registered methods by name."""
    return dict(_REGISTERED)


def get(method: str | Method) -> Method:
    """A method as the user gives it: a :class:`Method`, a name, or ``"name:parameter=value,…"``.

    :class:`OptionError` names the known ones, and of parameters the nearest.
    """
    if isinstance(method, Method):
        return method
    if not isinstance(method, str):
        raise _unknown(method)
    name, colon, text = method.partition(":")
    if name not in _REGISTERED:
        raise _unknown(name)
    settings: dict[str, object] = {}
    for part in text.split(",") if colon else ():
        parameter, equals, value = part.partition("=")
        if not equals or parameter in settings:
            raise OptionError(
                f"{method!r} is not a method with parameters",
                remedy="Write them as name:parameter=value,parameter=value, each parameter once",
            )
        settings[parameter] = value
    found = _REGISTERED[name]
    return found.with_(**settings) if settings else found


def _unknown(name: object) -> OptionError:
    near = get_close_matches(name, _REGISTERED, n=1) if isinstance(name, str) else []
    meant = f"Did you mean {near[0]}? " if near else ""
    return OptionError(f"no method is called {name!r}", remedy=f"{meant}Use one of {', '.join(_REGISTERED)}")
