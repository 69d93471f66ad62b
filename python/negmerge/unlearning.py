"""One method of a run: prepare, search, write the best candidate's checkpoint, and evaluate that file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .console import Reporter, Stage
from .judging import Judge
from .keys import content_key
from .methods.interface import Candidate, Context, Searched
from .peak_memory import PeakDeviceMemory, PeakMemory
from .recipe import ChosenMethod
from .results import Row
from .run_folder import RunFolder
from .search import Point, SearchResult, search
from .stage import finished
from .task import Task


def unlearn(
    chosen: ChosenMethod, task: Task, context: Context, judge: Judge, folder: RunFolder, reporter: Reporter
) -> Row:
    """The result of a method."""
    name, method = chosen.called, chosen.method
    candidates = method.candidates(context)
    recipe = task.recipe
    measures = recipe.compares_with_reference
    key = content_key(
        "method", name, [one.key for one in candidates], task.division_key, recipe.search, judge.key, measures
    )
    artefact = folder.merged(name)
    if (recorded := finished(artefact, key, Row.from_dict)) is not None:
        reporter.note(f"{method.title}: taken from {artefact.file}")
        return recorded

    artefact.begin()
    training_seconds = sum(candidate.prepare(reporter) for candidate in candidates)
    steps = sum(recipe.search.points - 1 if candidate.scaled else 1 for candidate in candidates)
    what = "searching the coefficient" if any(one.scaled for one in candidates) else "evaluating"
    with reporter.stage(f"{method.title}: {what}", steps) as stage:
        aim = judge.objective
        searched, ranked = [], []
        waiting = list(candidates)
        while waiting:
            candidate = waiting.pop(0)
            searched.append(_searched(candidate, task, judge, folder, stage))
            ranked.append(Searched(candidate, aim.preference(searched[-1].result.chosen)))
            # What a method grows is made of what was trained for its first candidates, and counted there.
            if not waiting and (more := method.grow(context, ranked)) is not None:
                waiting.append(more)
    place = min(range(len(ranked)), key=lambda number: ranked[number].preference)
    candidate, best = ranked[place].candidate, searched[place]
    start = time.perf_counter()
    memory, device_memory = PeakMemory(), PeakDeviceMemory(task.compute.device)
    written = candidate.write(best.result.chosen.coefficient, artefact.file)
    evaluated = task.evaluation.evaluated(candidate.load(artefact.file), measures=measures)
    row = Row(
        method=name,
        title=method.title,
        **evaluated,
        training_seconds=training_seconds,
        seconds=time.perf_counter() - start + sum(one.seconds for one in searched),
        candidate=candidate.title,
        coefficient=best.result.chosen.coefficient if candidate.scaled else None,
        at_limit=best.result.at_limit,
        kept=written.kept,
        elements=written.elements,
        evaluations=sum(one.result.evaluations for one in searched),
        peak_memory=_most([memory.nbytes, *(one.peak_memory for one in searched)]),
        peak_device_memory=_most([device_memory.nbytes, *(one.peak_device_memory for one in searched)]),
        curve=best.result.points,
        candidates=tuple(one.result.chosen for one in searched),
    )
    artefact.finish(key, asdict(row))
    return row


@dataclass(frozen=True, slots=True)
class _Searched:
    """The search over one candidate, and what it took, the merge included: seconds, and the most memory as
    :class:`~negmerge.results.Row` has it.
    """

    result: SearchResult
    seconds: float
    peak_memory: int | None
    peak_device_memory: int | None

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> _Searched:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**plain, "result": SearchResult.from_dict(plain["result"])})


def _most(measured: Sequence[int | None]) -> int | None:
    """The largest, of those that were measured."""
    return max((one for one in measured if one is not None), default=None)


def _searched(candidate: Candidate, task: Task, judge: Judge, folder: RunFolder, stage: Stage) -> _Searched:
    key = content_key("search", candidate.key, task.division_key, task.recipe.search, judge.key)
    artefact = folder.search(candidate.name)
    searched = finished(artefact, key, _Searched.from_dict)
    if searched is None:
        artefact.begin()
        start = time.perf_counter()
        memory, device_memory = PeakMemory(), PeakDeviceMemory(task.compute.device)
        with candidate.opened() as model_at:

            def evaluate(coefficients: Sequence[float]) -> Iterator[Point]:
                for point in judge.points((one, model_at(one)) for one in coefficients):
                    stage.advance()
                    yield point

            if candidate.scaled:
                result = search(evaluate, judge.base_point, judge.objective, task.recipe.search)
            else:
                (only,) = evaluate([1.0])
                result = SearchResult(points=(only,), chosen=only, evaluations=1, at_limit=False)
        searched = _Searched(result, time.perf_counter() - start, memory.nbytes, device_memory.nbytes)
        artefact.finish(key, asdict(searched))
    chosen, evaluations = searched.result.chosen, searched.result.evaluations
    stage.line(
        f"{candidate.title}: "
        + (f"coefficient {chosen.coefficient:g}, " if candidate.scaled else "")
        + f"validation forget {100 * chosen.forget:.1f} %, retain {100 * chosen.retain:.1f} %, "
        + ("" if chosen.gap is None else f"average gap {100 * chosen.gap:.2f}, ")
        + f"{evaluations} evaluation{'s' if evaluations > 1 else ''}"
    )
    return searched
