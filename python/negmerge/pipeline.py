"""A whole unlearning run: data → base → pool → merged vectors → coefficients → evaluation → report.

Every stage that is already finished in the run's folder under the same content key is taken from there;
:mod:`negmerge.run_folder` says what lies where.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from .base import base_in, base_row, make_base
from .claim import claim
from .compute import Compute
from .console import Reporter
from .devices import all_devices
from .judging import Judge
from .keys import content_key
from .methods import REFERENCE
from .methods.interface import Checkpoint, Context
from .online import OnlineMerging, merges_of, require_online
from .origin import Origin, origin_of
from .pool import Finetuned, finetune_pool, member_keys
from .recipe import ChosenMethod, Recipe
from .report.plot import draw
from .report.written import write_report
from .results import Member, Results, Row, versions
from .run_folder import RunFolder, appearing_complete, write_json
from .saliency import saliency
from .task import Task
from .torch_settings import settings
from .unlearning import unlearn


@dataclass(frozen=True, slots=True)
class Way:
    """How a run is done, which changes nothing in its results but their rounding on other devices.

    devices: the pool is fine-tuned on each of them at once, as :func:`~negmerge.devices.checked_devices`
    gives them; ``None`` is the recipe's device, and where it leaves the choice, all there are. online: merge
    every member of the pool as it is finished, and keep none.
    """

    devices: Sequence[str] | None = None
    online: bool = False


def run(
    recipe: Recipe,
    recipe_text: str,
    root: Path,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    way: Way | None = None,
) -> Results:
    """Do what is not done yet of ``recipe`` in the folder ``root``, and report all of it.

    recipe_text: the recipe as it was read, kept in the folder. overwrite: the folder may be another recipe's;
    what the change concerns is computed again. Raises subclasses of
    :class:`~negmerge_ext.errors.NegmergeError`. Interrupted or killed, call it again: it goes on.
    """
    way = way or Way()
    with opened(recipe, recipe_text, root, overwrite=overwrite, way=way) as (task, folder):
        results = _results(task, folder, reporter, way)
        write_json(folder.results, results.to_dict())
        with appearing_complete(folder.plot) as unfinished:
            draw(results, unfinished)
        write_report(folder, results)
    if not reporter.worked:
        reporter.note(f"Nothing was recomputed: {root} had all of it already")
    return results


def finetune(
    recipe: Recipe,
    recipe_text: str,
    root: Path,
    reporter: Reporter,
    *,
    overwrite: bool = False,
    way: Way | None = None,
) -> tuple[Row, list[Member]]:
    """Do the first stages of :func:`run` only: the base, and the pool.

    Returns what the base scores, and the members of the pool.
    """
    way = way or Way()
    with opened(recipe, recipe_text, root, overwrite=overwrite, way=way) as (task, folder):
        base, task = make_base(task, folder, reporter)
        row = base_row(task, base, folder)
        pool = _pool(task, base, folder, reporter, way)
    if not reporter.worked:
        reporter.note(f"Nothing was recomputed: {root} had all of it already")
    return row, pool.members


@contextmanager
def opened(
    recipe: Recipe, recipe_text: str, root: Path, *, overwrite: bool | None, way: Way | None = None
) -> Iterator[tuple[Task, RunFolder]]:
    """Within the block: the setting of a run, and its folder, which nobody else works in.

    Raises before anything is written if the recipe's data, the folder or the way is not usable.
    """
    merges = merges_of(recipe.methods) if way is not None and way.online else None
    folder = RunFolder(root)
    with settings(Compute.of(recipe).device, recipe.threads):
        task = Task.prepare(recipe)
        with folder.locked():
            if way is not None and folder.online.record.exists() and folder.base.file.exists():
                require_online(member_keys(task, base_in(task, folder)), merges, folder)
            claim(folder, recipe, recipe_text, overwrite=overwrite)
            yield task, folder


def context_of(task: Task, folder: RunFolder, base: Checkpoint, pool: Finetuned | None) -> Context:
    """What a run offers to its methods; pool: ``None`` for those that take nothing of it."""
    return Context(
        base=base,
        pool=() if pool is None else pool.checkpoints,
        build_model=task.build_model,
        build_tuned=partial(task.build_tuned, base.path),
        training=task.recipe.training,
        training_examples=task.training_examples,
        training_key=content_key(base.key, task.division_key),
        compute=task.compute,
        seed=task.recipe.seed,
        folder=folder,
        online=None if pool is None else pool.online,
    )


def _pool(task: Task, base: Checkpoint, folder: RunFolder, reporter: Reporter, way: Way) -> Finetuned:
    merging = OnlineMerging(base, merges_of(task.recipe.methods), folder) if way.online else None
    devices = way.devices
    if devices is None:
        devices = all_devices() if task.recipe.device == "auto" else (str(task.compute.device),)
    return finetune_pool(task, base, folder, reporter, devices, merging)


def _results(task: Task, folder: RunFolder, reporter: Reporter, way: Way) -> Results:
    recipe = task.recipe
    base, task = make_base(task, folder, reporter)
    row = base_row(task, base, folder)
    pool = _pool(task, base, folder, reporter, way)
    context = context_of(task, folder, base, pool)
    rows = (row, *_rows(task, context, row, folder, reporter))
    saliency(task, context, rows, folder, reporter)
    return Results(
        recipe=recipe.model_dump(mode="json"),
        forgotten=task.forgotten,
        images=task.counts("train", "validation", "test"),
        data_sha256=task.data_sha256,
        retain_floor=(
            recipe.search.retain_ratio * row.validation.retain
            if recipe.search.objective == "forget"
            else None
        ),
        rows=rows,
        pool=tuple(pool.members),
        versions=versions(),
        agreement=pool.agreement,
        pool_kept=pool.online is None,
        base_sha256=base.sha256,
        split_keys={one.label: one.key for one in task.sets},
        origin=_origin(folder, len(pool.members), recipe.methods),
    )


def _origin(folder: RunFolder, members: int, methods: Sequence[ChosenMethod]) -> Origin | None:
    """Of the stages whose results are shown."""
    stages = (
        folder.base,
        folder.base_scores,
        *map(folder.member, range(members)),
        *(folder.merged(one.called) for one in methods),
    )
    return origin_of(stage.written() for stage in stages)


def _rows(task: Task, context: Context, base: Row, folder: RunFolder, reporter: Reporter) -> Iterator[Row]:
    """The rows of all methods: the reference first, since others may be searched by their gap to it."""
    spec = task.recipe.search
    judge = Judge(task.evaluation, base, spec.retain_ratio)
    for chosen in sorted(task.recipe.methods, key=lambda one: one.name != REFERENCE):
        row = unlearn(chosen, task, context, judge, folder, reporter)
        if chosen.name == REFERENCE and spec.objective == "gap":
            judge = replace(judge, retrained=row.validation_measures)
        yield row
