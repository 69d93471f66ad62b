"""Options that every benchmark has."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from .results import FOLDER, Results


def parser(description: str | None, *, repeats: bool = True) -> argparse.ArgumentParser:
    """A parser with the shared options; ``description`` is the script's docstring.

    repeats: whether the benchmark measures in rounds.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--quick", action="store_true", help="a smoke test: small inputs, few rounds")
    made.add_argument(
        "--out",
        type=result_file,
        help="result file (default: in benchmarks/results/, quick: none is written)",
    )
    if repeats:
        made.add_argument("--rounds", type=count, help="measured rounds (default: 15, quick: 3)")
        made.add_argument(
            "--append",
            action="store_true",
            help="add samples to those that the result file has of the same case; commit, machine, versions"
            " and niceness must be known and the same",
        )
    return made


def count(text: str) -> int:
    """A whole number from 1 on, for argparse: a case without samples would replace one that has some."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def number_from(least: float) -> Callable[[str], float]:
    """Finite numbers from ``least`` on, for argparse."""

    def number(text: str) -> float:
        value = float(text)
        if not (value >= least and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least:g} on")
        return value

    return number


def folder(text: str) -> Path:
    """A folder that exists, for argparse."""
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {text}")
    return path


def new_folder(text: str) -> Path:
    """A folder that exists or can be made where it is to lie, for argparse."""
    path = Path(text)
    if not (path.is_dir() or (path.absolute().parent.is_dir() and not path.exists())):
        raise argparse.ArgumentTypeError(f"{text} is no folder, and there is none to make it in")
    return path


def result_file(text: str) -> Path:
    """A file to write, in folders to be made, for argparse: hours of measuring may depend on it."""
    path = Path(text)
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if path.is_dir() or (there != path.absolute() and not there.is_dir()) or not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def rounds(arguments: argparse.Namespace) -> int:
    """Rounds that were asked for, or the usual number."""
    given: int | None = arguments.rounds
    return given if given is not None else 3 if arguments.quick else 15


def results(arguments: argparse.Namespace, benchmark: str) -> Results:
    """The result file that the options name."""
    path = arguments.out
    if path is None and not arguments.quick:
        path = FOLDER / f"{benchmark}.json"
    append = getattr(arguments, "append", False)
    return Results(path, benchmark, append=append, quick=arguments.quick)
