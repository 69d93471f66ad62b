"""What can be known to go wrong with an output before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DiskSpaceError, NegmergeError, OutputError, OutputExistsError
from .disk import free_bytes
from .output import Output, is_folder
from .publish import foreign_files
from .work_folder import is_there, work_path

#: Files named at most in one message.
_LISTED = 10


def output_problems(output: Output, *, overwrite: bool) -> list[NegmergeError]:
    """Everything that stands against writing ``output``: its place, files in the way, the disk's room."""
    folder = output.path.parent
    problems = place_problems(output.path, overwrite=overwrite)
    if not folder.is_dir():
        return problems
    if overwrite:
        problems += _foreign(output)
    try:
        is_there(work_path(output.path))
    except OutputError as problem:
        problems.append(problem)
    free = available_bytes(output)
    if free is not None and free < output.nbytes:
        problems.append(
            DiskSpaceError(
                f"{output.nbytes} bytes are needed and {free} are free",
                path=folder,
                remedy="Free space, or write to another disk",
            )
        )
    return problems


def place_problems(path: Path, *, overwrite: bool) -> list[NegmergeError]:
    """What stands against writing to ``path`` whatever is to be written; links in it are followed."""
    path = path.resolve()
    problems = folder_problems(path)
    try:
        is_folder(path, any_suffix=True)
    except NegmergeError as problem:
        return [*problems, problem]
    if not overwrite and _taken(path):
        problems.append(
            OutputExistsError(
                "exists already", path=path, remedy="Give another name, or overwrite=True (--overwrite)"
            )
        )
    return problems


def folder_problems(path: Path) -> list[NegmergeError]:
    """What stands against writing anything to the folder that ``path`` is in."""
    folder = path.resolve().parent
    if not folder.is_dir():
        return [OutputError("the folder does not exist", path=folder, remedy="Make it first")]
    if not os.access(folder, os.W_OK | os.X_OK):
        return [OutputError("may not be written to", path=folder, remedy="Check its permissions")]
    return []


def available_bytes(output: Output) -> int | None:
    """Bytes that the output may take on disk, with what an unfinished one holds; ``None``: unknown."""
    free = free_bytes(output.path.parent)
    if free is None:
        return None
    held = 0
    for root, _, files in os.walk(work_path(output.path)):
        held += sum(512 * Path(root, name).lstat().st_blocks for name in files)
    return free + held


def _taken(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _files(number: int) -> str:
    return "1 file that is" if number == 1 else f"{number} files that are"


def _foreign(output: Output) -> list[NegmergeError]:
    path = output.path
    foreign = foreign_files(path, output.names) if path.is_dir() else []
    if not foreign:
        return []
    listing = ", ".join(foreign[:_LISTED]) + (", …" if len(foreign) > _LISTED else "")
    return [
        OutputExistsError(
            f"holds {_files(len(foreign))} no part of the new model and would be lost: {listing}",
            path=path,
            remedy="Move them away, or give another name",
        )
    ]
