"""The base: the model that has learnt everything, what is to be forgotten included."""

from __future__ import annotations

import time
from dataclasses import asdict

from .checkpoint import load_weights, save_weights
from .clip_base import clip_base, clip_key
from .console import Reporter
from .from_scratch import trained_from_scratch
from .keys import content_key, derived_seed
from .methods.interface import Checkpoint
from .models import knows_text
from .results import Row
from .run_folder import RunFolder
from .stage import Cost, finished, training_cost
from .task import Task

_TITLE = "Base"


def make_base(task: Task, folder: RunFolder, reporter: Reporter) -> tuple[Checkpoint, Task]:
    """Train the base, or take the pretrained one, unless it is there.

    Return it, and the task with the heads that belong to it.
    """
    if knows_text(task.recipe.model.name):
        checkpoint, heads = clip_base(task, folder, reporter)
        return checkpoint, task.with_heads(heads)
    key, artefact, recipe = task.base_key, folder.base, task.recipe
    if recipe.training is None:
        seconds = 0.0
        if training_cost(artefact, key) is None:
            artefact.begin()
            save_weights(task.build_model(), artefact.file)
            artefact.finish(key, asdict(Cost(seconds)))
    else:
        seconds = trained_from_scratch(
            artefact,
            key,
            _TITLE,
            task.build_model(),
            [task.training_split(task.sets[0])],
            recipe.training,
            seed=derived_seed("base", recipe.seed),
            compute=task.compute,
            reporter=reporter,
        )
    return Checkpoint(artefact.file, key, seconds), task


def base_in(task: Task, folder: RunFolder) -> Checkpoint:
    """The base's place in the folder, and its key; whether it is there is another question."""
    key = clip_key(task) if knows_text(task.recipe.model.name) else task.base_key
    return Checkpoint(folder.base.file, key, 0.0)


def base_row(task: Task, base: Checkpoint, folder: RunFolder) -> Row:
    """What the base scores: a stage of its own, as the same base may serve another forget set.

    The task's evaluation expects models with the frozen layers of this one from then on.
    """
    measures = task.recipe.compares_with_reference
    key = content_key("base scores", base.key, base.sha256, task.division_key, measures)
    artefact = folder.base_scores
    recorded = finished(artefact, key, Row.from_dict)
    start = time.perf_counter()
    if recorded is None or task.recipe.pool.freeze:
        model = load_weights(task.build_model(), base.path)
        task.evaluation.expect(model)
    if recorded is not None:
        return recorded
    artefact.begin()
    row = Row(
        method="base",
        title=_TITLE,
        **task.evaluation.evaluated(model, measures=measures),
        training_seconds=base.seconds,
        seconds=time.perf_counter() - start,
        coefficient=0.0,
    )
    artefact.finish(key, asdict(row))
    return row
