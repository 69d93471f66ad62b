"""The pool: the base fine-tuned on the forget set, once per combination of hyper-parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from .agreement import Agreement, pool_agreement
from .console import Reporter, Stage
from .devices import CPU
from .finetuning import Job, finetune, member_checkpoint, scored
from .keys import content_key
from .methods.interface import Checkpoint, OnlinePool
from .recipe import Pool, Training
from .results import Member
from .run_folder import RunFolder
from .stage import finished
from .task import Task
from .workers import Workers

#: Members per device that may be finished before their turn to be merged.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Finetuned:
    """A finished pool, in the order of the recipe's combinations.

    checkpoints: their files are there unless ``online`` has what was merged of them. agreement: ``None`` if
    it can no longer be found out.
    """

    checkpoints: list[Checkpoint]
    members: list[Member]
    online: OnlinePool | None
    agreement: Agreement | None


class Merging(Protocol):
    """Merges the members of a pool one by one, in order, and drops them."""

    def dropped(self, keys: Sequence[str]) -> list[Member]:
        """The first members of the pool, which were merged and dropped earlier."""

    def merge(self, path: Path, key: str, member: Member) -> None:
        """Merge the next one, and drop its file."""

    def finish(self) -> tuple[OnlinePool, Agreement | None]:
        """What all of them gave."""


def member_keys(task: Task, base: Checkpoint) -> list[str]:
    """Content keys of the pool's fine-tunings.

    The base's file is part of them: trained again on a GPU, it has other bits under its own key, and what was
    fine-tuned from the old one belongs to no pool of the new one.
    """
    spec = task.recipe.pool
    kind = ["linearised"] if spec.linearised else []
    shared = content_key(
        base.key,
        base.sha256,
        task.forget_key,
        spec.freeze,
        spec.freeze_statistics,
        task.recipe.seed,
        task.numerics_key,
        *kind,
    )
    return [content_key("member", shared, member) for member in spec.members()]


def finetune_pool(
    task: Task,
    base: Checkpoint,
    folder: RunFolder,
    reporter: Reporter,
    devices: Sequence[str] = (CPU,),
    merging: Merging | None = None,
) -> Finetuned:
    """Fine-tune what is not there yet.

    devices: one fine-tuning at a time on each of them. merging: takes every member as soon as it and all
    before it are there; then no checkpoint is kept, and none is begun that would wait for more than
    :data:`_AHEAD` others per device. Raises what a fine-tuning raises.
    """
    keys = member_keys(task, base)
    trainings = task.recipe.pool.members()
    known = dict(enumerate(merging.dropped(keys))) if merging else {}
    merged = len(known)
    for number, key in enumerate(keys):
        member = None if number in known else finished(folder.member(number), key, Member.from_dict)
        if member is not None:
            known[number] = member

    def merge_what_is_next() -> None:
        nonlocal merged
        while merging is not None and merged in known:
            merging.merge(folder.member(merged).file, keys[merged], known[merged])
            folder.member(merged).remove()
            merged += 1

    def may_begin(job: Job) -> bool:
        return merging is None or job.number < merged + _AHEAD * len(devices)

    if taken := len(known):
        reporter.note(f"{taken} of {len(keys)} fine-tunings: taken from {folder.pool}")
    missing = [number for number in range(len(keys)) if number not in known]
    _score_on_these_images(known, merged, keys, task, base, folder, reporter)
    merge_what_is_next()
    if missing:
        jobs = (Job(number, trainings[number], folder.member(number).file) for number in missing)
        epochs = sum(math.ceil(trainings[number].epochs) for number in missing)
        where = "" if list(devices) == [CPU] else f" on {', '.join(devices)}"
        with (
            reporter.stage(
                f"Fine-tuning {len(missing)} checkpoints on the forget set{where}", epochs
            ) as stage,
            _finetuning(task, base, devices) as run,
        ):
            for job, member in run(_begun(jobs, folder), stage.advance, may_begin):
                folder.member(job.number).finish(keys[job.number], asdict(member))
                known[job.number] = member
                _tell(stage, len(known), task.recipe.pool, job.training, member, len(keys))
                merge_what_is_next()
    folder.remove_members_from(len(keys))
    members = [known[number] for number in range(len(keys))]
    checkpoints = [
        member_checkpoint(folder.member(number).file, key, member)
        for number, (key, member) in enumerate(zip(keys, members, strict=True))
    ]
    if merging is not None:
        online, agreement = merging.finish()
        return Finetuned(checkpoints, members, online, agreement)
    return Finetuned(checkpoints, members, None, pool_agreement(base, checkpoints, folder, reporter))


def _score_on_these_images(
    known: dict[int, Member],
    dropped: int,
    keys: Sequence[str],
    task: Task,
    base: Checkpoint,
    folder: RunFolder,
    reporter: Reporter,
) -> None:
    """Give the members in ``known`` accuracies on the images of ``task``; they were fine-tuned for it, and
    perhaps scored when other images were to be retained. The first ``dropped`` have no checkpoint any more.
    """
    others = [number for number, member in known.items() if member.scored != task.division_key]
    for number in (number for number in others if number < dropped):
        known[number] = replace(known[number], validation=None)
    if not (there := [number for number in others if number >= dropped]):
        return
    with reporter.stage(f"Scoring {len(there)} fine-tunings", len(there)) as stage:
        for number in there:
            artefact = folder.member(number)
            known[number] = scored(task, base.path, artefact.file, known[number])
            artefact.finish(keys[number], asdict(known[number]))
            stage.advance()


_Run = Callable[[Iterator[Job], Callable[[], None], Callable[[Job], bool]], Iterator[tuple[Job, Member]]]


@contextmanager
def _finetuning(task: Task, base: Checkpoint, devices: Sequence[str]) -> Iterator[_Run]:
    """Within the block: what does jobs, in this process if there is but one device."""
    if len(devices) > 1:
        with Workers(task.recipe, task.heads, base.path, devices) as workers:
            yield workers.finetuned
        return

    here_task = task.on(devices[0])

    def here(
        jobs: Iterator[Job], epoch_done: Callable[[], None], may_begin: Callable[[Job], bool]
    ) -> Iterator[tuple[Job, Member]]:
        for job in jobs:  # one after the other: each is merged before the next begins
            yield job, finetune(here_task, base.path, job, epoch_done)

    yield here


def _begun(jobs: Iterator[Job], folder: RunFolder) -> Iterator[Job]:
    for job in jobs:
        folder.member(job.number).begin()
        yield job


def _tell(stage: Stage, known: int, spec: Pool, training: Training, member: Member, of: int) -> None:
    varied = [name for name, values in spec.axes.items() if len(values) > 1]
    which = ", ".join(f"{name} {_value(getattr(training, name))}" for name in varied) or "the only one"
    left = "" if known == of else f"; about {_duration(stage.seconds_left)} left"
    stage.line(f"{known}/{of}: {which}: {member.seconds:.1f} s{left}")


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
