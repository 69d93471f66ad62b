"""The base: the model that has learnt everything, what is to be forgotten included."""

from __future__ import annotations

import time
from dataclasses import asdict

from .checkpoint import load_weights
from .console import Reporter
from .from_scratch import trained_from_scratch
from .keys import content_key, derived_seed
from .methods.interface import Checkpoint
from .results import Row
from .run_folder import RunFolder
from .task import Task

_TITLE = "Base"


def train_base(task: Task, folder: RunFolder, reporter: Reporter) -> tuple[Checkpoint, Row]:
    """Train the base on the whole training split, unless it is there; return it and what it scores.

    What it scores is a stage of its own: the same base may serve another forget set.
    """
    key, artefact = task.base_key, folder.base
    seconds = trained_from_scratch(
        artefact,
        key,
        _TITLE,
        task.build_model(),
        *task.tensors(task.splits.train),
        task.recipe.training,
        seed=derived_seed("base", task.recipe.seed),
        reporter=reporter,
    )
    return Checkpoint(artefact.file, key, seconds), _scored(task, folder, seconds)


def _scored(task: Task, folder: RunFolder, training_seconds: float) -> Row:
    measures = task.compares_with_reference
    key, artefact = content_key("base scores", task.training_key, measures), folder.base_scores
    if (facts := artefact.finished(key)) is not None:
        return Row.from_dict(facts)
    artefact.begin()
    start = time.perf_counter()
    model = load_weights(task.build_model(), folder.base.file)
    row = Row(
        method="base",
        title=_TITLE,
        **task.evaluation.evaluated(model, measures=measures),
        training_seconds=training_seconds,
        seconds=time.perf_counter() - start,
        coefficient=0.0,
    )
    artefact.finish(key, asdict(row))
    return row
