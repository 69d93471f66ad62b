"""What a merge method is, and how its parameters are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Literal, TypeAlias

from ..errors import OptionError

Value: TypeAlias = float | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a method.

    about: what it is, for people. parse: its value out of what the user gave, which may be text; raises
    ``ValueError`` with what it should be.
    """

    name: str
    default: Value
    about: str
    parse: Callable[[object], Value]


@dataclass(frozen=True, slots=True)
class Trim:
    """Differences that a method looks at: of each model, those at least as large as its threshold.

    Of D differences ordered by magnitude, the threshold is the (D − int(D · density))-th smallest, any NaN
    being the largest; with ``density`` 1 it is 0. D are the elements of all merged tensors together (``per``
    "model") or of one ("tensor").
    """

    density: float
    per: Literal["model", "tensor"]


@dataclass(frozen=True, slots=True)
class Method:
    """One way of turning N task vectors into one.

    ``code`` is the method's number in ``csrc/methods.h``, ``values`` and ``signs`` what it has to know of an
    element between two models: numbers of the compute type, and whether all differences had one sign.
    ``keeps`` says which elements enter the merged vector (all others are exactly zero in it); ``source`` is
    the paper it comes from. ``settings`` are the values of its ``parameters``; :meth:`with_` gives the method
    others. ``str(method)`` is how it is written: ``"ties:density=0.1,per=model"``.
    """

    name: str
    code: int
    keeps: str
    source: str
    values: int = 1
    signs: bool = False
    parameters: tuple[Parameter, ...] = ()
    settings: tuple[Value, ...] = ()
    trimmed: Callable[[Mapping[str, Value]], Trim] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.settings:
            object.__setattr__(self, "settings", tuple(one.default for one in self.parameters))

    @property
    def trim(self) -> Trim | None:
        """What differences are to be trimmed to before they are merged; ``None``: they are not."""
        return None if self.trimmed is None else self.trimmed(self._by_name())

    def with_(self, **settings: object) -> Method:
        """The same method with other values of some parameters.

        Raises :class:`~negmerge_ext.errors.OptionError` for an unknown parameter or an impossible value.
        """
        values = self._by_name()
        for name, given in settings.items():
            parameter = self._parameter(name)
            try:
                values[name] = parameter.parse(given)
            except ValueError as problem:
                raise OptionError(f"{name} of method {self.name!r} is {given!r}, not {problem}") from None
        return replace(self, settings=tuple(values.values()))

    def __str__(self) -> str:
        settings = ",".join(f"{name}={value}" for name, value in self._by_name().items())
        return f"{self.name}:{settings}" if settings else self.name

    def _by_name(self) -> dict[str, Value]:
        return {one.name: value for one, value in zip(self.parameters, self.settings, strict=True)}

    def _parameter(self, name: str) -> Parameter:
        known = {one.name: one for one in self.parameters}
        if name in known:
            return known[name]
        near = get_close_matches(name, known, n=1)
        remedy = f"Did you mean {near[0]}?" if near else f"It has {', '.join(known) or 'no parameters'}"
        raise OptionError(f"method {self.name!r} has no parameter {name!r}", remedy=remedy)
