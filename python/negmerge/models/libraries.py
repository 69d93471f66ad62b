"""Architectures by name: one's own, and all that a library has as ``LIBRARY/NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ..registry import Registry, suggestion


class Libraries:
    """Names of architectures, and what builds them.

    own: those without a library. libraries: module of each; it has ``names()`` and ``build``, and may accept
    more than it lists with ``accepts(name)``. A library is imported when a name asks for it.
    """

    def __init__(self, own: Registry[Any], libraries: Mapping[str, str]) -> None:
        self._own = own
        self._libraries = dict(libraries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names without a library."""
        return self._own.names

    def check(self, name: str) -> str:
        """``name`` itself if there is such an architecture; else :class:`ValueError` names the nearest."""
        library, slash, within = name.partition("/")
        if not slash:
            if name not in self._own.names:
                known = [*self._own.names, *(f"{one}/…" for one in self._libraries)]
                raise ValueError(f"no model is called {name!r}{suggestion(name, known)}")
            return name
        if library not in self._libraries:
            raise ValueError(
                f"no library of models is called {library!r}{suggestion(library, self._libraries)}"
            )
        module = self._module(library)
        if within not in module.names() and not module.accepts(within):
            nearest = suggestion(within, module.names(), most=10)
            raise ValueError(f"{library} has no model that is called {within!r}{nearest}")
        return name

    def get(self, name: str) -> Any:
        """What builds the architecture called ``name``."""
        library, slash, _ = self.check(name).partition("/")
        return self._module(library).build if slash else self._own.get(name)

    def _module(self, library: str) -> Any:
        try:
            return import_module(self._libraries[library], __package__)
        except ImportError as problem:
            raise ValueError(
                f"{library} models need a package that is not installed ({problem}): "
                "pip install 'negmerge_ext[vision]'"
            ) from problem
