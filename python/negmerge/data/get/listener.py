"""What is told while data is fetched."""

from __future__ import annotations


class Listener:
    """Hears how it goes on, and says nothing; subclasses show it."""

    def note(self, text: str) -> None:
        """One line."""

    def received(self, name: str, done: int, total: int) -> None:
        """So many bytes of a file are there."""
