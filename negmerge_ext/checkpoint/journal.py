"""The journal of an unfinished output: how far it is safely on disk, and the statistics up to there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ResumeError
from ..stats import NATIVE_STATS
from .disk import open_file

_FORMAT = 1
_START_OVER = "Merge without resume (--resume) to start over"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in a plan: all tensors before ``tensor``, and its first ``element`` elements, are done."""

    tensor: int = 0
    element: int = 0


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where a merge may go on: its position, and the statistics of the merged tensors up to there."""

    position: Position
    rows: np.ndarray


class Journal:
    """A small JSON file, replaced as a whole, that belongs to one merge.

    digest: identifies the merge and its inputs; a journal of another digest is not continued. merged:
    number of merged tensors. numel: elements of every tensor of the plan.
    """

    def __init__(self, path: Path, digest: str, merged: int, numel: Sequence[int]) -> None:
        self.path = path
        self._digest = digest
        self._merged = merged
        self._numel = numel

    def load(self) -> tuple[ResumePoint, int] | None:
        """The last point saved and the inode of the output it is about; ``None`` if there is no journal.

        Raises :class:`~negmerge_ext.errors.ResumeError` if it is damaged, unreadable or another merge's.
        """
        try:
            with os.fdopen(open_file(self.path, os.O_NONBLOCK), "rb") as file:
                content = file.read()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise ResumeError(
                f"cannot be read: {problem.strerror}", path=self.path, remedy=_START_OVER
            ) from problem
        try:
            saved = json.loads(content)
            if (saved["format"], saved["digest"]) != (_FORMAT, self._digest):
                raise ResumeError(
                    "belongs to a merge with other inputs or options", path=self.path, remedy=_START_OVER
                )
            position = Position(int(saved["tensor"]), int(saved["element"]))
            if not self._is_in_plan(position):
                raise ValueError("there is no such position")
            inode = int(saved["inode"])
            rows = np.zeros(self._merged, NATIVE_STATS)
            for index, (kept, non_finite, sum_squares, max_abs) in enumerate(saved["statistics"]):
                rows[index] = kept, non_finite, float.fromhex(sum_squares), float.fromhex(max_abs)
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as problem:
            raise ResumeError("is damaged", path=self.path, remedy=_START_OVER) from problem
        return ResumePoint(position, rows), inode

    def remove(self) -> None:
        """Let nothing go on from what was saved."""
        self.path.unlink(missing_ok=True)

    def _is_in_plan(self, position: Position) -> bool:
        if position.tensor == len(self._numel):
            return position.element == 0
        within = 0 <= position.tensor < len(self._numel)
        return within and 0 <= position.element < max(1, self._numel[position.tensor])

    def save(self, point: ResumePoint, inode: int) -> None:
        """Replace the journal; everything before ``point`` must already be safe on disk."""
        done = len(point.rows)
        while done and not point.rows[done - 1].tobytes().strip(b"\0"):
            done -= 1
        content = {
            "format": _FORMAT,
            "digest": self._digest,
            "inode": inode,
            "tensor": point.position.tensor,
            "element": point.position.element,
            "statistics": [
                [kept, non_finite, sum_squares.hex(), max_abs.hex()]
                for kept, non_finite, sum_squares, max_abs in point.rows[:done].tolist()
            ],
        }
        fresh = self.path.with_suffix(".new")
        with os.fdopen(open_file(fresh, os.O_CREAT | os.O_TRUNC), "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)
