"""One fine-tuning of the base on the forget set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from .checkpoint import load_weights, save_weights
from .file_checksum import sha256_of
from .keys import content_key, derived_seed
from .methods.interface import Checkpoint
from .recipe import Training
from .results import Member
from .task import Task
from .train import train


@dataclass(frozen=True, slots=True)
class Job:
    """A fine-tuning to be done: its place in the pool, its hyper-parameters, the file to write."""

    number: int
    training: Training
    out: Path


def finetune(task: Task, base: Path, job: Job, epoch_done: Callable[[], None]) -> Member:
    """Fine-tune the checkpoint ``base`` on the task's device and write the result to the file of the job.

    The result depends on the hyper-parameters, not on the job's place: a larger grid does not change the
    members that it had before. Raises what :func:`~negmerge.train.train` does.
    """
    recipe = task.recipe
    model = load_weights(task.build_tuned(base), base)
    # What is left out has its default: a hyper-parameter that a later version adds changes no seed. Nor does
    # the number of parts that a step is computed in.
    hyperparameters = job.training.model_dump(mode="json", exclude_defaults=True, exclude={"accumulation"})
    # Derivatives in forward mode and autocast do not go together; torch mixes their dtypes up.
    compute = replace(task.compute, lower=None) if recipe.pool.linearised else task.compute
    start = time.perf_counter()
    loss = train(
        model,
        task.training_examples("forget"),
        job.training,
        seed=derived_seed("member", recipe.seed, hyperparameters),
        compute=compute,
        freeze=recipe.pool.freeze,
        freeze_statistics=recipe.pool.freeze_statistics,
        epoch_done=epoch_done,
    )
    seconds = time.perf_counter() - start
    save_weights(model, job.out)
    return Member(
        file=f"{job.out.parent.name}/{job.out.name}",
        hyperparameters=job.training.model_dump(),
        validation=task.evaluation.scores(model, "validation"),
        loss=loss,
        seconds=seconds,
        device=str(task.compute.device),
        scored=task.division_key,
        sha256=sha256_of([job.out]),
    )


def scored(task: Task, base: Path, path: Path, member: Member) -> Member:
    """``member``, whose checkpoint is ``path``, with its accuracies on the images of ``task``."""
    model = load_weights(task.build_tuned(base), path)
    return replace(member, validation=task.evaluation.scores(model, "validation"), scored=task.division_key)


def member_checkpoint(path: Path, key: str, member: Member) -> Checkpoint:
    """A finished fine-tuning for those who merge it; key: of what it was made from.

    Made again on a GPU it has other bits under the same key, so these are part of the checkpoint's.
    """
    return Checkpoint(path, content_key(key, member.sha256), member.seconds)
