"""Recognising an output whose merge was killed when nothing was left to do but tidying up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..plan import Plan
from .journal import Journal, Position
from .output import Output
from .work_folder import WorkFolder, is_there, work_path
from .writer import inode_of


@dataclass(frozen=True, slots=True)
class Finished:
    """A complete output. rows: its statistics."""

    rows: np.ndarray


def find_finished(output: Output, plan: Plan[object], digest: str) -> Finished | None:
    """Whether the journal of this merge says that it made what is at ``output.path``.

    ``None``: it does not, or there is no journal and so nothing tells what is there. Raises
    :class:`~negmerge_ext.errors.ResumeError` for the journal of another merge.
    """
    work = work_path(output.path)
    if not is_there(work):
        return None
    numel = [tensor.numel for tensor in plan.tensors]
    journal = Journal(work / WorkFolder.JOURNAL, digest, len(plan.merged), numel)
    saved = journal.load()
    if saved is None:
        return None
    point, inode = saved
    if point.position != Position(len(numel)) or inode_of(output.path) != inode:
        return None
    if not _is_untouched(output, journal.path.stat().st_mtime_ns):
        return None
    return Finished(point.rows)


def tidy(output: Output) -> None:
    """Remove what a merge that was killed after publishing ``output`` left behind.

    Raises :class:`~negmerge_ext.errors.OutputError` if another merge is writing the output.
    """
    if is_there(work_path(output.path)):
        WorkFolder(output.path).remove(published=True)


def _is_untouched(output: Output, finished_ns: int) -> bool:
    """Whether the weights files are those of ``output``, and nobody has written to them since."""
    for path, file in zip(output.paths, output.files, strict=True):
        if not path.is_file():
            return False
        status = path.stat()
        if status.st_size != file.layout.size or status.st_mtime_ns > finished_ns:
            return False
        with path.open("rb") as found:
            if found.read(len(file.layout.header)) != file.layout.header:
                return False
    return True
