"""One method of a run: search its candidates, write the best one's checkpoint, evaluate that file."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from .checkpoint import load_weights
from .console import Reporter, Stage
from .evaluate import Scores
from .keys import content_key
from .methods import METHODS
from .methods.interface import Candidate, Context
from .results import Row
from .run_folder import RunFolder
from .search import SearchResult, preference, search
from .task import Task


def unlearn(
    name: str, task: Task, context: Context, base: Scores, folder: RunFolder, reporter: Reporter
) -> Row:
    """The result of method ``name``. base: validation accuracies of the base."""
    method = METHODS.get(name)
    candidates = method.candidates(context)
    recipe = task.recipe
    key = content_key("method", name, [one.key for one in candidates], recipe.forget, recipe.search)
    artefact = folder.merged(name)
    if (facts := artefact.finished(key)) is not None:
        reporter.note(f"{method.title}: taken from {artefact.file}")
        return Row.from_dict(facts)

    artefact.begin()
    steps = len(candidates) * (recipe.search.points - 1)
    with reporter.stage(f"{method.title}: searching the coefficient", steps) as stage:
        searched = [_searched(candidate, task, base, folder, stage) for candidate in candidates]
    candidate, best = min(
        zip(candidates, searched, strict=True), key=lambda pair: preference(pair[1].result.chosen)
    )
    start = time.perf_counter()
    written = candidate.write(best.result.chosen.coefficient, artefact.file)
    model = load_weights(context.build_model(), artefact.file)
    validation, test = (task.evaluation.scores(model, split) for split in ("validation", "test"))
    row = Row(
        method=name,
        title=method.title,
        validation=validation,
        test=test,
        seconds=time.perf_counter() - start + sum(one.seconds for one in searched),
        candidate=candidate.title,
        coefficient=best.result.chosen.coefficient,
        at_limit=best.result.at_limit,
        kept=written.kept,
        elements=written.elements,
        evaluations=sum(one.result.evaluations for one in searched),
        curve=best.result.points,
        candidates=tuple(one.result.chosen for one in searched),
    )
    artefact.finish(key, asdict(row))
    return row


@dataclass(frozen=True, slots=True)
class _Searched:
    """The search over one candidate, and the seconds that it took, the merge included."""

    result: SearchResult
    seconds: float


def _searched(candidate: Candidate, task: Task, base: Scores, folder: RunFolder, stage: Stage) -> _Searched:
    key = content_key("search", candidate.key, task.recipe.forget, task.recipe.search)
    artefact = folder.search(candidate.name)
    if (facts := artefact.finished(key)) is None:
        artefact.begin()
        start = time.perf_counter()
        with candidate.opened() as model_at:

            def evaluate(coefficient: float) -> Scores:
                scores = task.evaluation.scores(model_at(coefficient), "validation")
                stage.advance()
                return scores

            result = search(evaluate, base, task.recipe.search)
        searched = _Searched(result, time.perf_counter() - start)
        artefact.finish(key, asdict(searched))
    else:
        searched = _Searched(SearchResult.from_dict(facts["result"]), facts["seconds"])
    chosen = searched.result.chosen
    stage.line(
        f"{candidate.title}: coefficient {chosen.coefficient:g}, validation forget "
        f"{100 * chosen.forget:.1f} %, retain {100 * chosen.retain:.1f} %, "
        f"{searched.result.evaluations} evaluations"
    )
    return searched
