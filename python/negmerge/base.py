"""The base: the model that has learnt everything, what is to be forgotten included."""

from __future__ import annotations

import time
from pathlib import Path

from .checkpoint import load_weights, save_weights
from .console import Reporter
from .keys import derived_seed
from .methods.interface import Checkpoint
from .results import Row
from .run_folder import RunFolder
from .task import Task
from .train import train


def train_base(task: Task, folder: RunFolder, reporter: Reporter) -> tuple[Checkpoint, Row]:
    """Train the base on the whole training split, unless it is there; return it and what it scores now.

    It is evaluated every time: the same base may serve another forget set than the one before.
    """
    key, artefact = task.base_key, folder.base
    if (facts := artefact.finished(key)) is None:
        artefact.begin()
        facts = {"seconds": _train(task, artefact.file, reporter)}
        artefact.finish(key, facts)
    else:
        reporter.note(f"Base: taken from {artefact.file}")
    model = load_weights(task.build_model(), artefact.file)
    row = Row(
        method="base",
        title="Base",
        validation=task.evaluation.scores(model, "validation"),
        test=task.evaluation.scores(model, "test"),
        seconds=facts["seconds"],
    )
    return Checkpoint(artefact.file, key), row


def _train(task: Task, path: Path, reporter: Reporter) -> float:
    """Train and save the base; return the seconds it took."""
    model, spec = task.build_model(), task.recipe.training
    images, labels = task.tensors(task.splits.train)
    start = time.perf_counter()
    with reporter.stage(f"Training the base on {len(images):,} images", spec.epochs) as stage:
        train(
            model, images, labels, spec, seed=derived_seed("base", task.recipe.seed), epoch_done=stage.advance
        )
    save_weights(model, path)
    return time.perf_counter() - start
