"""What a run would do: all that its recipe asks for is looked at; nothing is trained or written."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from negmerge_ext.errors import DeviceError, NegmergeError

from .base import base_in
from .claim import require_claimable, require_free
from .clip_base import kept_clip
from .compute import CPU, Compute
from .data.divided import DataSet
from .data.index_file import read_index_file
from .errors import DataError, MissingDataError, RecipeError
from .freezing import frozen_parameters
from .keys import content_key, derived_seed
from .methods.interface import Candidate, Checkpoint, Context, Method, OwnTraining, Searched
from .models import knows_text
from .models.without_memory import built_without_memory
from .online import merged_online, merges_of, require_online
from .pipeline import Way
from .pool import member_keys
from .recipe import Recipe, Training
from .run_folder import Artefact, RunFolder
from .schedule import steps_per_epoch, total_steps
from .task import Task
from .torch_settings import settings


@dataclass(frozen=True, slots=True)
class PlannedData:
    """A data set of the recipe. images: of its splits, by name; ``None`` if it is not there."""

    name: str
    images: Mapping[str, int] | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class PlannedTraining:
    """Trainings of one kind: the base's, those of the pool, or those that a method does by itself.

    models: how many. epochs: of all of them. images: that each trains on. steps: of all of them. passing:
    images that pass through training, every one as often as it does. These three are ``None`` while the data
    is not there. finished: how many the folder has already.
    """

    models: int
    epochs: float
    images: int | None
    steps: int | None
    passing: int | None
    finished: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What ``negmerge unlearn`` would do.

    forgotten: the forget set in words. device, threads, precision: as the recipe or the caller says. base:
    ``None`` if it is published weights, as ``pretrained`` says. own_trainings: of methods that train by
    themselves, by method; what they share is the first's. methods: searches of a coefficient, by method.
    searches: of all of them, what methods share counted once. points: coefficients that a search tries at
    least. problems: what would keep the run from beginning.
    """

    name: str
    folder: str
    forgotten: str
    data: tuple[PlannedData, ...]
    model: str
    pretrained: str | None
    device: str
    threads: int
    precision: str
    base: PlannedTraining | None
    pool: PlannedTraining
    own_trainings: Mapping[str, PlannedTraining]
    methods: Mapping[str, int]
    searches: int
    points: int
    online: bool
    problems: tuple[NegmergeError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; problems as text."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name not in _NESTED}
        return plain | {
            "base": None if self.base is None else asdict(self.base),
            "pool": asdict(self.pool),
            "data": [asdict(one) for one in self.data],
            "own_trainings": {method: asdict(one) for method, one in self.own_trainings.items()},
            "problems": [str(problem) for problem in self.problems],
        }


_NESTED = ("data", "base", "pool", "own_trainings", "problems")


def plan_run(recipe: Recipe, root: Path, *, overwrite: bool = False, way: Way | None = None) -> RunPlan:
    """The plan of :func:`~negmerge.pipeline.run` with these arguments.

    With a data set missing it is what can be told without it.
    """
    way = way or Way()
    problems: list[NegmergeError] = []
    folder = RunFolder(root)
    device, here = recipe.device if way.devices is None else ", ".join(way.devices), recipe
    with _kept(problems):
        require_free(folder)
    with _kept(problems):
        if root.is_dir():
            require_claimable(folder, recipe, overwrite=overwrite)
    merges: Mapping[str, str] | None = None
    with _kept(problems):
        if way.online:
            merges = {}
            merges = merges_of(recipe.methods)
    try:
        Compute.of(recipe)
    except (DeviceError, RecipeError) as problem:
        problems.append(problem)
        here = recipe.model_copy(update={"device": "cpu", "precision": "auto"})
    with settings(CPU.device, recipe.threads):
        task, sets, data = _prepared(here, problems)
        finished = _Finished()
        if task is not None and here is recipe:
            finished = _Finished.of(task, folder, merges)
            with _kept(problems):
                require_online(finished.member_keys, merges, folder)
    train = {
        part: None if task is None else task.counts("train")["train"][part] for part in ("forget", "retain")
    }
    if task is None and recipe.forget is None and sets[0] is not None:
        train["forget"] = len(sets[0].splits.train)
    learnt = [None if one is None else len(one.splits.train) for one in sets]
    context = _context(recipe, folder, finished)
    searches, own_trainings, counted = {}, {}, set[Artefact]()
    for chosen in recipe.methods:
        candidates = _candidates(chosen.method, context)
        searches[chosen.called] = {one.name for one in candidates if one.scaled}
        # Those that methods share are one: they are recorded in one place.
        trainings = {training.artefact: training for one in candidates for training in one.trainings()}
        if own := [training for place, training in trainings.items() if place not in counted]:
            own_trainings[chosen.called] = _own(own, train, finished)
        counted |= trainings.keys()
    return RunPlan(
        name=recipe.name,
        folder=str(root),
        forgotten=_in_words(recipe) if task is None else task.forgotten,
        data=data,
        model=recipe.model.name,
        pretrained=recipe.model.pretrained,
        device=device,
        threads=recipe.threads,
        precision=recipe.precision,
        base=None if recipe.training is None else _training([recipe.training], _sum(learnt), finished.base),
        pool=_training(recipe.pool.members(), train["forget"], finished.members),
        own_trainings=own_trainings,
        methods={name: len(found) for name, found in searches.items()},
        searches=len(set().union(*searches.values())),
        points=recipe.search.points - 1,
        online=way.online,
        problems=tuple(problems),
    )


@contextmanager
def _kept(problems: list[NegmergeError]) -> Iterator[None]:
    """What is raised within the block is one of ``problems``, and the plan goes on."""
    try:
        yield
    except NegmergeError as problem:
        problems.append(problem)


def _prepared(
    recipe: Recipe, problems: list[NegmergeError]
) -> tuple[Task | None, Sequence[DataSet | None], tuple[PlannedData, ...]]:
    """The setting of the run; without it, what is there of the data."""
    try:
        task = Task.prepare(recipe)
    except NegmergeError as problem:
        why = problem
    else:
        return task, task.sets, tuple(_planned(one.label, one) for one in task.sets)
    sets: list[DataSet | None] = []
    data = []
    for spec in recipe.data_sets:
        try:
            one = DataSet.load(spec, derived_seed("split", recipe.seed))
        except (DataError, RecipeError) as problem:
            problems.append(problem)
            sets.append(None)
            data.append(PlannedData(spec.called, None, str(problem)))
        else:
            sets.append(one)
            data.append(_planned(spec.called, one))
    if isinstance(why, MissingDataError):
        # The rest that does not take the data, and that Task.prepare did not come to.
        with _kept(problems):
            frozen_parameters(built_without_memory(recipe.model), recipe.pool.freeze)
        with _kept(problems):
            if recipe.forget is not None:
                read_index_file(recipe.forget)
    elif all(one is not None for one in sets):
        problems.append(why)
    return None, sets, tuple(data)


def _planned(label: str, data: DataSet) -> PlannedData:
    splits = data.splits
    images = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
    return PlannedData(label, images, None)


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _training(specs: Sequence[Training], images: int | None, finished: int) -> PlannedTraining:
    epochs = math.fsum(spec.epochs for spec in specs)
    if images is None:
        return PlannedTraining(len(specs), epochs, None, None, None, finished)
    steps = passing = 0
    for spec in specs:
        per_epoch = steps_per_epoch(images, spec.batch_size)
        of_one = total_steps(spec, per_epoch)
        whole, rest = divmod(of_one, per_epoch)
        steps += of_one
        passing += whole * images + rest * spec.batch_size
    return PlannedTraining(len(specs), epochs, images, steps, passing, finished)


def _in_words(recipe: Recipe) -> str:
    """The forget set, as far as the recipe alone tells."""
    forget, label = recipe.forget, recipe.data.called
    if forget is None:
        return f"all of {label}"
    if forget.classes is not None:
        noun = "class" if len(forget.classes) == 1 else "classes"
        return f"{noun} {', '.join(map(str, forget.classes))} of {label}"
    if forget.fraction is not None:
        return f"{100 * forget.fraction:g} % of the training images of {label}, at random"
    listed = (
        f"listed in {forget.index_file}" if forget.indices is None else f"({len(forget.indices)}) by index"
    )
    return f"training images of {label} {listed}"


@dataclass(frozen=True, slots=True)
class _Finished:
    """How many trainings of each kind need not be repeated.

    Keys, of the members of the pool and as :class:`Context` has them, are there where it is worth asking for
    them.
    """

    base: int = 0
    members: int = 0
    member_keys: Sequence[str] = ()
    base_key: str | None = None
    training_key: str | None = None

    @classmethod
    def of(cls, task: Task, folder: RunFolder, merges: Collection[str] | None) -> _Finished:
        """merges: by which methods all members are merged online; ``None``: they are kept."""
        clip = knows_text(task.recipe.model.name)
        # Keys take a checksum of all images: where no training is recorded none is asked for.
        if not folder.base.record.exists() and not (clip and task.recipe.training is not None):
            return cls()
        base = base_in(task, folder)
        key = base.key
        kept = folder.base.finished(key) is not None or (clip and kept_clip(key).finished(key) is not None)
        keys = member_keys(task, base) if base.path.exists() else []
        dropped = 0 if merges is None else merged_online(keys, merges, folder)
        members = [folder.member(number).finished(key) for number, key in list(enumerate(keys))[dropped:]]
        return cls(
            base=int(kept),
            members=dropped + sum(facts is not None for facts in members),
            member_keys=keys,
            base_key=key,
            training_key=content_key(key, task.division_key),
        )


def _own(
    trainings: Sequence[OwnTraining], train: Mapping[str, int | None], finished: _Finished
) -> PlannedTraining:
    """What a method trains by itself; train: images of the training split by part."""
    done = 0
    if finished.training_key is not None:
        done = sum(one.artefact.finished(one.key) is not None for one in trainings)
    images = _sum([train[part] for part in trainings[0].parts])
    return _training([one.spec for one in trainings], images, done)


def _context(recipe: Recipe, folder: RunFolder, finished: _Finished) -> Context:
    """What methods make their candidates of, none of which is opened."""
    pool = [
        Checkpoint(folder.member(number).file, str(number), 0.0)
        for number in range(len(recipe.pool.members()))
    ]
    return Context(
        base=Checkpoint(folder.base.file, finished.base_key or "base", 0.0),
        pool=pool,
        build_model=_not_now,
        build_tuned=_not_now,
        training=recipe.training,
        training_examples=_not_now,
        training_key=finished.training_key or "training",
        compute=CPU,
        seed=recipe.seed,
        folder=folder,
    )


def _candidates(method: Method, context: Context) -> list[Candidate]:
    """All that a method would search; how many a method grows does not depend on what is found."""
    searched = [Searched(one, ()) for one in method.candidates(context)]
    while (more := method.grow(context, searched)) is not None:
        searched.append(Searched(more, ()))
    return [one.candidate for one in searched]


def _not_now(*given: object) -> NoReturn:
    raise AssertionError("a plan builds and trains nothing")
