"""The base: the model that has learnt everything, what is to be forgotten included."""

from __future__ import annotations

from .checkpoint import load_weights
from .console import Reporter
from .from_scratch import trained_from_scratch
from .keys import derived_seed
from .methods.interface import Checkpoint
from .results import Row
from .run_folder import RunFolder
from .task import Task


def train_base(task: Task, folder: RunFolder, reporter: Reporter) -> tuple[Checkpoint, Row]:
    """Train the base on the whole training split, unless it is there; return it and what it scores now.

    It is evaluated every time: the same base may serve another forget set than the one before.
    """
    key, artefact, title = task.base_key, folder.base, "Base"
    seconds = trained_from_scratch(
        artefact,
        key,
        title,
        task.build_model(),
        *task.tensors(task.splits.train),
        task.recipe.training,
        seed=derived_seed("base", task.recipe.seed),
        reporter=reporter,
    )
    model = load_weights(task.build_model(), artefact.file)
    row = Row(
        method="base",
        title=title,
        **task.evaluation.evaluated(model, measures=task.compares_with_reference),
        training_seconds=seconds,
        seconds=0.0,
        coefficient=0.0,
    )
    return Checkpoint(artefact.file, key, seconds), row
