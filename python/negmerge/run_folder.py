"""The folder of a run: what lies where, and which stages are finished.

    recipe.yaml                     the recipe, as it was read
    base.safetensors   base.json    the base
    heads.safetensors  heads.json   text heads by data set, if the base is a model of images and text
    base-scores.json                what it scores on the recipe's forget set
    pool/000.safetensors   .json    fine-tuned checkpoints, in the order of the recipe's combinations
    online/state.json               with --online: what was merged and dropped so far; METHOD-NNN.safetensors
                                    beside it are the unfinished merges of the first NNN, while there are more
    agreement.json                  sign agreement of the pool, by tensor
    patches/NAME.safetensors        merged vectors of the whole pool: ``negmerge patch`` applies them
    trained/NAME.safetensors .json  what a method trained for itself: Retrain
    search/NAME.json                the coefficients tried on a candidate, and what they scored on validation
    merged/METHOD.safetensors .json the unlearned model of a method, and what it scored
    grad-cam.safetensors   .json    some images, and where each model sees their classes
    evaluated/DIGEST.json           what a checkpoint given to ``negmerge evaluate`` scored
    results.json   results.png      everything that the tables say, and the plot
    report.html    report.md        all of it, as a page for people

A stage is finished when its JSON record is there, and the file that it is about has the size recorded. The
record holds a key of all that the stage depends on; a changed recipe changes the keys of the stages that it
concerns, and a run repeats these only, and those whose record or file is missing or damaged. Files appear
under their names when they are complete.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from negmerge_ext.checkpoint.disk import write_errors
from negmerge_ext.errors import OutputExistsError

from .folder_lock import locked
from .origin import stamp

#: Of the records. Raised when the facts of a stage change; stages recorded in an older format are repeated.
_FORMAT = 4


@dataclass(frozen=True, slots=True)
class Artefact:
    """The result of a stage: its JSON record, and the file that this is about (itself, if there is none)."""

    record: Path
    file: Path

    def finished(self, key: str) -> dict[str, Any] | None:
        """The facts recorded, if the stage was finished under this key; else ``None``."""
        found = self._read()
        if found is None or found.pop("key", None) != key:
            return None
        found.pop("written", None)
        return found

    def recorded(self) -> dict[str, Any] | None:
        """The facts recorded, if the stage was finished under any key: for those who only show them."""
        found = self._read()
        if found is not None:
            found.pop("key", None)
            found.pop("written", None)
        return found

    def written(self) -> dict[str, Any] | None:
        """When the record was written, and by what machine (:func:`~negmerge.origin.stamp`).

        ``None`` without a record, or for one of a version that did not say.
        """
        found = self._read()
        return None if found is None else found.get("written")

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict) or not self.file.is_file():
            return None
        # Records of earlier versions have no size.
        if found.pop("file_size", None) not in (None, self.file.stat().st_size):
            return None
        return found if found.pop("format", None) == _FORMAT else None

    def remove(self) -> None:
        """Remove record and file; the record first, so that no half of it passes for finished."""
        self.record.unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)

    def begin(self) -> None:
        """Take back the record before the file changes: a stage that is killed must not pass for finished.

        Raises :class:`~negmerge_ext.errors.OutputExistsError` if a folder that holds something is in the way.
        """
        self.record.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.record, self.file):
            if path.is_dir():
                _remove_empty(path)
        self.record.unlink(missing_ok=True)

    def finish(self, key: str, facts: dict[str, Any]) -> None:
        """Record the stage as finished; its file is complete."""
        size = {} if self.file == self.record else {"file_size": self.file.stat().st_size}
        write_json(self.record, {"format": _FORMAT, "key": key, "written": stamp(), **size, **facts})


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths within the folder ``root`` of a run."""

    root: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out, within the block; :class:`~negmerge.errors.BusyError` if one is in."""
        with locked(
            self.root,
            use="be the folder of a run",
            busy="another run is at work in this folder",
            remedy="Give another folder (-o)",
        ):
            yield

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.yaml"

    @property
    def has_results(self) -> bool:
        """Whether a run has finished a stage here, or all: what no other program leaves."""
        return self.base.recorded() is not None or self.results.is_file()

    @property
    def base(self) -> Artefact:
        return _checkpoint(self.root, "base")

    @property
    def heads(self) -> Artefact:
        return _checkpoint(self.root, "heads")

    @property
    def base_scores(self) -> Artefact:
        return _record(self.root, "base-scores")

    @property
    def pool(self) -> Path:
        return self.root / "pool"

    def member(self, number: int) -> Artefact:
        """Fine-tuned checkpoint ``number``, from 0."""
        return _checkpoint(self.pool, f"{number:03d}")

    @property
    def online(self) -> Artefact:
        """What was merged of a pool of which nothing is kept."""
        return _record(self.root / "online", "state")

    def unfinished_merge(self, method: str, models: int) -> Path:
        """The state of a merge of the first ``models`` members of the pool."""
        return self.online.record.with_name(f"{method}-{models:03d}.safetensors")

    @property
    def agreement(self) -> Artefact:
        return _record(self.root, "agreement")

    def patch(self, name: str) -> Path:
        return self.root / "patches" / f"{name}.safetensors"

    def trained(self, name: str) -> Artefact:
        return _checkpoint(self.root / "trained", name)

    def search(self, name: str) -> Artefact:
        return _record(self.root / "search", name)

    def merged(self, method: str) -> Artefact:
        return _checkpoint(self.root / "merged", method)

    @property
    def grad_cam(self) -> Artefact:
        return _checkpoint(self.root, "grad-cam")

    def evaluated(self, digest: str) -> Artefact:
        """The scores of a checkpoint with this SHA-256."""
        return _record(self.root / "evaluated", digest)

    @property
    def results(self) -> Path:
        return self.root / "results.json"

    @property
    def plot(self) -> Path:
        return self.root / "results.png"

    @property
    def page(self) -> Path:
        return self.root / "report.html"

    @property
    def markdown(self) -> Path:
        return self.root / "report.md"

    def remove_members_from(self, number: int) -> None:
        """Remove checkpoints of a larger pool that an earlier recipe left, so that ``pool/*`` is the pool."""
        while (member := self.member(number)).record.exists() or member.file.exists():
            member.remove()
            number += 1


def _checkpoint(folder: Path, name: str) -> Artefact:
    return Artefact(folder / f"{name}.json", folder / f"{name}.safetensors")


def _record(folder: Path, name: str) -> Artefact:
    record = folder / f"{name}.json"
    return Artefact(record, record)


def _remove_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as problem:
        raise OutputExistsError(
            "is a folder, and a file of the run has this name", path=folder, remedy="Move it away"
        ) from problem


@contextmanager
def appearing_complete(path: Path) -> Iterator[Path]:
    """A path to write to within the block; what was written becomes ``path`` at its end, durably.

    Raises :class:`~negmerge_ext.errors.DiskSpaceError` if there is no room for it, and
    :class:`~negmerge_ext.errors.OutputError` if it cannot be written for another reason.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    with write_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.touch()
            mode = unfinished.stat().st_mode
            yield unfinished
            with unfinished.open("rb") as written:
                os.fsync(written.fileno())
            unfinished.chmod(mode)  # what safetensors writes in its place is the owner's alone
            unfinished.replace(path)
        except SafetensorError as problem:
            raise _of_the_system(problem) from problem
        finally:
            with suppress(OSError):
                unfinished.unlink()


def _of_the_system(problem: SafetensorError) -> OSError:
    """The system's error that safetensors tells of in words."""
    number = re.search(r"os error (\d+)", str(problem))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(problem))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write plain data as indented JSON, complete or not at all."""
    with appearing_complete(path) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
