"""Methods that are no merges go through the same search, evaluation and report."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from negmerge.console import Reporter
from negmerge.errors import RecipeError
from negmerge.methods import METHODS
from negmerge.pipeline import run
from negmerge.recipe_file import parse_recipe
from negmerge.report.plot import draw
from negmerge.report.table import headline, table
from negmerge.results import Results
from negmerge.run_plan import plan_run
from safetensors.torch import load_file
from toy_methods import RATES


@pytest.fixture(scope="module", autouse=True)
def toys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(METHODS._entries, "ascent", "toy_methods:ASCENT")
        patched.setitem(METHODS._entries, "perturbation", "toy_methods:PERTURBATION")
        yield


@pytest.fixture(scope="module")
def text(small_text: str) -> str:
    return small_text.replace("single, uniform, negmerge", "ascent, perturbation")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, toys: None, text: str) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("finished")
    return root, run(parse_recipe(text, "recipe"), text, root, Reporter(quiet=True))


def test_hyper_parameters_are_chosen_among_those_that_retain_enough(finished):
    _, results = finished
    row = results.rows[2]
    assert (row.coefficient, row.evaluations, len(row.candidates)) == (None, len(RATES), len(RATES))
    assert row.training_seconds == 7.0 * len(RATES)
    qualifying = [point for point in row.candidates if point.retain >= results.retain_floor]
    assert 0 < len(qualifying) < len(RATES), "the largest rate ruins the model"
    assert row.validation.forget == min(point.forget for point in qualifying)
    assert row.validation.retain >= results.retain_floor


def test_a_perturbation_is_searched_and_its_own_file_is_evaluated(finished):
    root, results = finished
    row = results.rows[3]
    assert row.coefficient > 0
    assert row.validation.forget < results.rows[0].validation.forget
    chosen = next(point for point in row.curve if point.coefficient == row.coefficient)
    assert (chosen.forget, chosen.retain) == (row.validation.forget, row.validation.retain)
    written = load_file(root / "merged" / "perturbation.safetensors")
    assert [*written] == ["perturbation"]
    assert written["perturbation"].dtype == torch.float32
    assert row.elements == written["perturbation"].numel() == 64


def test_a_plan_counts_what_methods_train_by_themselves(finished, text, tmp_path):
    root, _ = finished
    before, after = (plan_run(parse_recipe(text, "recipe"), folder) for folder in (tmp_path, root))
    assert before.methods == {"retrain": 0, "ascent": 0, "perturbation": 1}
    ascent = before.own_trainings["ascent"]
    assert [*before.own_trainings] == ["retrain", "ascent"]
    assert (ascent.models, ascent.images, ascent.steps, ascent.finished) == (3, 91, 3, 0)
    assert after.own_trainings["ascent"].finished == 3


def test_what_methods_share_is_planned_once(text, tmp_path):
    text = text.replace("ascent,", "ascent, {name: ascent, rates: 0.05}, {name: ascent, rates: [0.05, 7]},")
    plan = plan_run(parse_recipe(text, "recipe"), tmp_path)
    assert [one.models for one in plan.own_trainings.values()] == [1, 3, 1]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{name: ascent, rates: []}", "methods[1].rates: lists nothing"),
        ("{name: ascent, training: {epochs: 1, learning_rte: 1}}", "did you mean 'learning_rate'?"),
        ("{name: ascent, training: {epochs: 1}}", "methods[1].training.learning_rate is missing"),
        ("{name: ascent, rats: 1, training: 2}", "2 mistakes:"),
        ("{name: ascent, rates: 1}, {name: ascent, rates: [1.0]}", "methods: lists ascent-"),
    ],
)
def test_mistakes_in_hyper_parameters_are_named(text, written, says):
    with pytest.raises(RecipeError, match=re.escape(says)):
        parse_recipe(text.replace("ascent, perturbation", written), "recipe")


def test_a_method_below_the_floor_is_not_what_stands_for_the_run(text, tmp_path):
    text = text.replace("ascent, perturbation", "{name: ascent, rates: [50, 100]}")
    results = run(parse_recipe(text, "recipe"), text, tmp_path, Reporter(quiet=True))
    row = results.rows[2]
    assert row.validation.retain < results.retain_floor
    assert row.validation.retain == max(point.retain for point in row.candidates)
    assert any(f"nothing that was tried keeps it: {row.title}." in note for note in table(results).notes)
    assert headline(results) is results.rows[-1]


def test_a_method_is_compared_with_itself_with_other_hyper_parameters(text, finished, tmp_path):
    root, results = finished
    shutil.copytree(root, tmp_path / "run")
    text = text.replace("ascent,", "ascent, {name: ascent, rates: [0.05]},")
    recipe = parse_recipe(text, "recipe")
    found = run(recipe, text, tmp_path / "run", Reporter(quiet=True), overwrite=True)
    assert [row.title for row in found.rows[2:4]] == ["Ascent", "Ascent (rates [0.05])"]
    assert len(found.rows[3].candidates) == 1
    assert re.fullmatch("ascent-[0-9a-f]{8}", found.rows[3].method), "files are not named after lists"
    assert found.rows[2] == results.rows[2], "it is not done again"
    assert [*Results.from_dict(found.to_dict()).methods] == [row.method for row in found.rows[1:]]


def test_all_are_compared_and_drawn(finished, tmp_path):
    _, results = finished
    assert [results.average_gap(row) is not None for row in results.rows] == [True] * 4
    draw(results, tmp_path / "plot")
