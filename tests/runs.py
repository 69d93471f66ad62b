"""Whole runs: what they leave, and ways to end them early."""

from __future__ import annotations

import hashlib
from pathlib import Path

from negmerge.console import Reporter


def checksums(root: Path) -> dict[str, str]:
    """SHA-256 of every checkpoint and patch of a run."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.safetensors"))
    }


def without_seconds(plain: object) -> object:
    if isinstance(plain, dict):
        return {
            name: without_seconds(value)
            for name, value in plain.items()
            if name not in ("seconds", "training_seconds")
        }
    if isinstance(plain, (list, tuple)):
        return [without_seconds(value) for value in plain]
    return plain


class Killed(BaseException):
    """Stands for a signal: nothing catches it."""


class KilledAfter(Reporter):
    """Kills the run at a given step of training, fine-tuning or search."""

    def __init__(self, steps: int) -> None:
        super().__init__(quiet=True)
        self.left = steps

    def stage(self, title: str, total: int):  # type: ignore[no-untyped-def]
        reporter = self

        class Context:
            def __enter__(self) -> Context:
                return self

            def __exit__(self, *problem: object) -> None:
                return None

            def advance(self) -> None:
                reporter.left -= 1
                if reporter.left < 0:
                    raise Killed

            def line(self, text: str) -> None:
                return None

        return Context()
