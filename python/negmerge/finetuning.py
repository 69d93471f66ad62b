"""One fine-tuning of the base on the forget set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from .checkpoint import load_weights, save_weights
from .keys import derived_seed
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


def finetune(task: Task, base: Path, job: Job, device: str, epoch_done: Callable[[], None]) -> Member:
    """Fine-tune the checkpoint ``base`` on ``device`` and write the result to the file of the job.

    The result depends on the hyper-parameters, not on the job's place: a larger grid does not change the
    members that it had before. Raises what :func:`~negmerge.train.train` does.
    """
    recipe = task.recipe
    model = load_weights(task.build_model(), base).to(device)
    images, labels = (tensor.to(device) for tensor in task.tensors(task.selection.train.forget))
    if images.is_cuda:
        torch.cuda.synchronize(images.device)
    start = time.perf_counter()
    loss = train(
        model,
        images,
        labels,
        job.training,
        seed=derived_seed("member", recipe.seed, job.training),
        freeze=recipe.pool.freeze,
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
        device=device,
    )
