"""A whole unlearning run: data → base → pool → merged vectors → coefficients → evaluation → report.

Every stage that is already finished in the run's folder under the same content key is taken from there;
:mod:`negmerge.run_folder` says what lies where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from .base import base_row, make_base
from .claim import claim
from .compute import Compute
from .console import Reporter
from .determinism import settings
from .judging import Judge
from .keys import content_key
from .methods import REFERENCE
from .methods.interface import Context
from .pool import finetune_pool
from .recipe import Recipe
from .report.plot import draw
from .results import Results, Row, versions
from .run_folder import RunFolder, appearing_complete, write_json
from .task import Task
from .unlearning import unlearn


def run(
    recipe: Recipe, recipe_text: str, root: Path, reporter: Reporter, *, overwrite: bool = False
) -> Results:
    """Do what is not done yet of ``recipe`` in the folder ``root``, and report all of it.

    recipe_text: the recipe as it was read, kept in the folder. overwrite: the folder may be another recipe's;
    what the change concerns is computed again. Raises subclasses of
    :class:`~negmerge_ext.errors.NegmergeError`. Interrupted or killed, call it again: it goes on.
    """
    folder = RunFolder(root)
    with settings(Compute.of(recipe).device, recipe.threads):
        task = Task.prepare(recipe)
        with folder.locked():
            claim(folder, recipe, recipe_text, overwrite=overwrite)
            results = _results(task, folder, reporter)
            write_json(folder.results, results.to_dict())
            with appearing_complete(folder.plot) as unfinished:
                draw(results, unfinished)
    if not reporter.worked:
        reporter.note(f"Nothing was recomputed: {root} had all of it already")
    return results


def _results(task: Task, folder: RunFolder, reporter: Reporter) -> Results:
    recipe = task.recipe
    base, task = make_base(task, folder, reporter)
    row = base_row(task, base, folder)
    pool, members = finetune_pool(task, base, folder, reporter)
    context = Context(
        base=base,
        pool=pool,
        build_model=task.build_model,
        training=recipe.training,
        training_examples=task.training_examples,
        training_key=content_key(base.key, task.division_key),
        compute=task.compute,
        seed=recipe.seed,
        folder=folder,
    )
    rows = _rows(task, context, row, folder, reporter)
    return Results(
        recipe=recipe.model_dump(mode="json"),
        forgotten=task.forgotten,
        images={
            split: {"forget": len(part.forget), "retain": sum(map(len, part.retain))}
            for split, part in task.parts.items()
        },
        data_sha256=task.data_sha256,
        retain_floor=(
            recipe.search.retain_ratio * row.validation.retain
            if recipe.search.objective == "forget"
            else None
        ),
        rows=(row, *rows),
        pool=tuple(members),
        versions=versions(),
    )


def _rows(task: Task, context: Context, base: Row, folder: RunFolder, reporter: Reporter) -> Iterator[Row]:
    """The rows of all methods: the reference first, since others may be searched by their gap to it."""
    spec = task.recipe.search
    judge = Judge(task.evaluation, base, spec.retain_ratio)
    for name in sorted(task.recipe.methods, key=lambda name: name != REFERENCE):
        row = unlearn(name, task, context, judge, folder, reporter)
        if name == REFERENCE and spec.objective == "gap":
            judge = replace(judge, retrained=row.validation_measures)
        yield row
