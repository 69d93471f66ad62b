"""Making sure that what was merged is what was planned."""

from __future__ import annotations

from itertools import chain

from ..checkpoint.base import FileRows
from ..checkpoint.files import identify
from ..errors import CheckpointError, SourceChangedError
from ..plan import Plan


def check_unchanged(plan: Plan[object]) -> None:
    """Raise :class:`~negmerge_ext.errors.SourceChangedError` if an input file is not what it was."""
    on_disk = (rows.files for rows in (plan.base, *plan.finetuned) if isinstance(rows, FileRows))
    for file in set(chain.from_iterable(on_disk)):
        try:
            same = identify(file.path) == file
        except CheckpointError:
            same = False
        if not same:
            raise SourceChangedError(
                "changed while it was being merged",
                path=file.path,
                remedy="Run the merge again when nothing writes to it",
            )
