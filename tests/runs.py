"""Ways to end whole runs early."""

from __future__ import annotations

from negmerge.console import Reporter


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

            seconds_left = 0.0

        return Context()
