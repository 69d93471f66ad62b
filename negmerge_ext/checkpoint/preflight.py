"""What can be known to go wrong with an output before anything is written."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import DiskSpaceError, NegmergeError, OutputError, OutputExistsError
from .disk import free_bytes
from .output import Output
from .publish import foreign_files
from .work_folder import work_path

#: Files named at most in one message.
_LISTED = 10


def output_problems(output: Output, *, overwrite: bool) -> list[NegmergeError]:
    """Everything that stands against writing ``output``: its place, files in the way, the disk's room."""
    folder = output.path.parent
    if not folder.is_dir():
        return [OutputError("the folder does not exist", path=folder, remedy="Make it first")]
    problems = [*_unwritable(folder), *_in_the_way(output, overwrite)]
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


def available_bytes(output: Output) -> int | None:
    """Bytes that the output may take on disk, with what an unfinished one holds; ``None``: unknown."""
    free = free_bytes(output.path.parent)
    if free is None:
        return None
    held = 0
    for root, _, files in os.walk(work_path(output.path)):
        held += sum(512 * Path(root, name).lstat().st_blocks for name in files)
    return free + held


def _unwritable(folder: Path) -> list[NegmergeError]:
    if os.access(folder, os.W_OK | os.X_OK):
        return []
    return [OutputError("may not be written to", path=folder, remedy="Check its permissions")]


def _in_the_way(output: Output, overwrite: bool) -> list[NegmergeError]:
    path = output.path
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return []
    if not overwrite:
        return [
            OutputExistsError("exists already", path=path, remedy="Give another name, or allow to overwrite")
        ]
    foreign = foreign_files(path, output.names) if path.is_dir() else []
    if not foreign:
        return []
    listing = ", ".join(foreign[:_LISTED]) + (", …" if len(foreign) > _LISTED else "")
    return [
        OutputExistsError(
            f"holds {len(foreign)} files that are no part of the new model and would be lost: {listing}",
            path=path,
            remedy="Move them away, or give another name",
        )
    ]
