"""Whole runs, and ways to end them early."""

from __future__ import annotations

from pathlib import Path

from negmerge.console import Reporter
from negmerge.pipeline import Way, run
from negmerge.recipe_file import parse_recipe
from negmerge.results import Results

QUIET = Reporter(quiet=True)


def run_text(
    text: str, root: Path, reporter: Reporter = QUIET, *, overwrite: bool = False, way: Way | None = None
) -> Results:
    """Run a recipe, given as text, in the folder ``root``."""
    return run(parse_recipe(text, "recipe"), text, root, reporter, overwrite=overwrite, way=way)


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
