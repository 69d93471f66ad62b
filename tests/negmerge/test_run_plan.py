from __future__ import annotations

import functools
import json

import pytest
from negmerge import run_plan
from negmerge.errors import MissingDataError
from negmerge.models.without_memory import built_without_memory
from negmerge.recipe_file import embedded_recipe, embedded_recipes, parse_recipe
from negmerge.run_plan import plan_run

from negmerge_ext.errors import DeviceError, OutputExistsError


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("NEGMERGE_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("NEGMERGE_MODELS", str(tmp_path / "none"))


@pytest.fixture(scope="module")
def build_once():
    """Eight or more recipes share an architecture."""

    @functools.cache
    def build(text: str):
        return built_without_memory(
            run_plan.Recipe.model_fields["model"].annotation.model_validate_json(text)
        )

    return lambda spec: build(spec.model_dump_json())


@pytest.mark.parametrize("name", embedded_recipes())
def test_shipped_recipes_have_a_plan_without_their_data(name, tmp_path, monkeypatch, no_data, build_once):
    monkeypatch.setattr(run_plan, "built_without_memory", build_once)
    recipe, _ = embedded_recipe(name)
    plan = plan_run(recipe, tmp_path / "run")
    missing = [one.name for one in plan.data if one.images is None]
    assert missing == [one.name for one in recipe.data_sets if one.name != "digits"]
    assert len(plan.problems) == len(missing)
    assert all("is not there" in str(problem) for problem in plan.problems)
    assert plan.pool.models == len(recipe.pool.members())
    assert (plan.pool.steps is None) == bool(missing)
    assert list(plan.methods) == [one.called for one in recipe.methods]
    assert plan.methods.get("greedy", 2 * plan.pool.models - 1) == 2 * plan.pool.models - 1
    assert list(tmp_path.iterdir()) == []
    json.dumps(plan.to_dict(), allow_nan=False)


def test_counts_are_those_of_the_run(small_text, tmp_path):
    text = small_text.replace("epochs: 6", "epochs: 0.5").replace("epochs: 3", "epochs: [1, 1.5]")
    plan = plan_run(parse_recipe(text, "recipe"), tmp_path)
    forget, learnt = plan.pool.images, plan.base.images
    assert plan.data[0].images == {"train": learnt, "validation": 449, "test": 450}
    assert (learnt, plan.own_trainings["retrain"].images) == (898, 898 - forget)
    assert (plan.base.steps, plan.base.passing) == (8, 8 * 64)  # of 15
    assert forget == 91  # three steps an epoch, the last of 27 images
    assert plan.pool.models == 6
    assert (plan.pool.steps, plan.pool.passing) == (3 * (3 + 4), 3 * (91 + 91 + 32))
    assert (plan.methods, plan.searches) == ({"retrain": 0, "single": 6, "uniform": 1, "negmerge": 1}, 8)
    assert plan.forgotten == "class 3 of digits"
    assert not plan.problems


@pytest.mark.parametrize(
    ("written", "wrong", "says"),
    [
        ("width: 4}", "width: 4, image_size: 8}", "model.image_size does not apply"),
        ("small_cnn, width: 4}", "resnet18, pretrained: absent.pt}", "absent.pt: is not there"),
        ("small_cnn, width: 4}", "torchvision/vit_b_16, width: 4}", "model.width does not apply"),
        ("classes: [3]", "index_file: absent.txt", "absent.txt: cannot be read"),
    ],
)
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_what_is_wrong_is_told_with_and_without_the_data(
    small_text, tmp_path, no_data, data, written, wrong, says
):
    text = small_text.replace("name: digits", f"name: {data}").replace(written, wrong)
    told = [str(problem) for problem in plan_run(parse_recipe(text, "recipe"), tmp_path).problems]
    assert len(told) == (1 if data == "digits" else 2)
    assert says in told[-1]


def test_a_set_that_is_there_is_counted_beside_one_that_is_not(small_text, tmp_path, no_data):
    text = small_text.replace("small_cnn, width: 4", "clip/vit").replace("retrain, ", "")
    recipe = parse_recipe(text.replace("forget: {classes: [3]}", "retain: mnist"), "recipe")
    plan = plan_run(recipe, tmp_path)
    assert [one.images is None for one in plan.data] == [False, True]
    assert (plan.pool.images, plan.base.images, plan.own_trainings) == (898, None, {})
    missing, unmatched = plan.problems  # the recipe freezes parameters of another architecture
    assert isinstance(missing, MissingDataError)
    assert "pool.freeze" in str(unmatched)


def test_all_that_keeps_a_run_from_beginning_is_told_together(small_text, tmp_path):
    (tmp_path / "mine.txt").touch()
    recipe = parse_recipe(small_text + "device: cuda:77\n", "recipe")
    plan = plan_run(recipe, tmp_path)
    assert [type(problem) for problem in plan.problems] == [OutputExistsError, DeviceError]
    assert plan.pool.images == 91
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
