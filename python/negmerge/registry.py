"""Named implementations of one kind, each in a module that is imported when it is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Generic, TypeVar

EntryT = TypeVar("EntryT")


class Registry(Generic[EntryT]):
    """The implementations of one kind of thing, by the name that a recipe gives.

    ``entries`` maps names to ``"module:attribute"``; adding an implementation is a file and a line there.
    """

    def __init__(self, kind: str, package: str, entries: Mapping[str, str]) -> None:
        self._kind = kind
        self._package = package
        self._entries = dict(entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, in the order of registration."""
        return tuple(self._entries)

    def check(self, name: str) -> str:
        """``name`` itself if it is registered; :class:`ValueError` names the nearest one otherwise."""
        if name not in self._entries:
            raise ValueError(f"no {self._kind} is called {name!r}{suggestion(name, self._entries)}")
        return name

    def get(self, name: str) -> EntryT:
        """The implementation called ``name``."""
        module, _, attribute = self._entries[self.check(name)].partition(":")
        found: EntryT = getattr(import_module(module, self._package), attribute)
        return found


def suggestion(word: str, known: Iterable[str], *, most: int | None = None) -> str:
    """What to say after "is not known": the nearest known word, or all of them, or the first ``most``."""
    known = list(known)
    nearest = difflib.get_close_matches(word, known, n=1)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; known: {', '.join(known[:most])}" + (", …" if len(known) > len(known[:most]) else "")
