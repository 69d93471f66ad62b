"""Recognising an output that is complete already, so that resuming its merge has nothing left to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..plan import Plan
from .base import FileRows
from .journal import Journal
from .output import Output
from .work_folder import WorkFolder, work_path
from .writer import inode_of


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete output. rows: its statistics, if a journal still tells them."""

    rows: np.ndarray | None


def find_finished(output: Output, plan: Plan[object], digest: str) -> Finished | None:
    """Whether ``output.path`` holds what this merge makes; ``None``: it does not.

    It does if the journal says that what is there was finished by this merge, or, without a journal, if the
    headers are this merge's and the files younger than every input. What a merge that was killed after
    publishing left behind is then tidied up. Raises :class:`~negmerge_ext.errors.ResumeError` for the journal
    of another merge, :class:`~negmerge_ext.errors.OutputError` if another merge is writing the output.
    """
    work = work_path(output.path)
    saved = Journal(work / WorkFolder.JOURNAL, digest, len(plan.merged)).load()
    there = _is_up_to_date(output, plan) if saved is None else inode_of(output.path) == saved[1]
    if not there:
        return None
    if work.exists():
        WorkFolder(output.path).remove()
    return Finished(None if saved is None else saved[0].rows)


def _is_up_to_date(output: Output, plan: Plan[object]) -> bool:
    written = []
    for path, file in zip(output.paths, output.files, strict=True):
        if not path.is_file() or path.stat().st_size != file.layout.size:
            return False
        with path.open("rb") as found:
            if found.read(len(file.layout.header)) != file.layout.header:
                return False
        written.append(path.stat().st_mtime_ns)
    inputs = [rows.files for rows in (plan.base, *plan.finetuned) if isinstance(rows, FileRows)]
    # Unlike the time of the last modification, that of the last status change is not copied with a file.
    return max(file.path.stat().st_ctime_ns for files in inputs for file in files) < min(written)
