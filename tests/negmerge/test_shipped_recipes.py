from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from negmerge.errors import RecipeError
from negmerge.methods import METHODS, REFERENCE
from negmerge.recipe_file import embedded_recipe, embedded_recipes, read_recipe

ROOT = Path(__file__).parents[2]
PAPER = [name for name in embedded_recipes() if name.startswith("paper/")]


@pytest.mark.parametrize("name", embedded_recipes())
def test_all_parse_and_are_called_as_their_files(name):
    recipe, _ = embedded_recipe(name)
    assert recipe.name == name.removeprefix("paper/")
    assert len(recipe.pool.members()) >= 8
    assert len({one.model_dump_json() for one in recipe.pool.members()}) == len(recipe.pool.members())


def test_the_papers_tables_are_all_there():
    clip = [name for name in PAPER if name.startswith("paper/clip-")]
    assert len(clip) == 8 * 3 + 8
    for name in clip:
        recipe, _ = embedded_recipe(name)
        assert len(recipe.pool.members()) == 30
        assert recipe.training is None
        assert recipe.model.pretrained == "openai"
        assert [one.name for one in recipe.retain] == ["imagenet"]
        assert recipe.pool.batch_size == 128
        assert recipe.pool.accumulation == (2 if "vit-l-14" in name else 1)
        assert recipe.pool.linearised == ("-linear-" in name) == (not recipe.pool.freeze)
    for name in ("resnet18", "vgg16"):
        recipe, _ = embedded_recipe(f"paper/cifar10-{name}-random")
        assert len(recipe.pool.members()) == 27
        assert recipe.data.validation == "salun"
        assert (recipe.training.epochs, recipe.training.milestones) == (182, [91, 136])


@pytest.mark.parametrize("name", ["digits", *PAPER])
def test_every_method_that_applies_is_compared(name):
    recipe, _ = embedded_recipe(name)
    classifier = recipe.retain is None
    assert {one.called for one in recipe.methods} == {
        one for one in METHODS.names if classifier or one != REFERENCE
    }


def test_the_papers_are_what_their_program_writes(tmp_path):
    recipes = runpy.run_path(str(ROOT / "tools" / "paper_recipes.py"))["recipes"]()
    folder = ROOT / "python" / "negmerge" / "recipes" / "paper"
    assert {path.name: path.read_text() for path in folder.iterdir()} == recipes


def test_small_clips_share_their_base_whichever_set_is_forgotten():
    shared = []
    for name, data in (
        ("mnist-clip-small", "mnist"),
        ("mnist-clip-small-linearised", "mnist"),
        ("fashion-mnist-clip-small", "fashion-mnist"),
        ("cifar10-clip-small", "cifar10"),
    ):
        recipe, _ = embedded_recipe(name)
        assert recipe.data.name == data
        sets = sorted(one.model_dump_json() for one in recipe.data_sets)
        shared.append((recipe.model, recipe.training, recipe.threads, recipe.device, recipe.precision, sets))
    assert all(one == shared[0] for one in shared)
    assert len(sets) == 3


def test_one_is_read_by_its_name_unless_a_file_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("digits")) == embedded_recipe("digits")
    for name in ("digit", "digits.yaml", "recipes/digits.yml"):
        with pytest.raises(RecipeError, match="did you mean 'digits'"):
            read_recipe(Path(name))
    with pytest.raises(RecipeError, match="did you mean 'paper/clip-vit-b-32-svhn'"):
        read_recipe(Path("clip-vit-b-32-svhn"))
    with pytest.raises(RecipeError, match="negmerge recipes lists"):
        read_recipe(Path("zzz.yaml"))
    Path("digits").write_text(embedded_recipe("digits")[1].replace("seed: 0", "seed: 3"))
    assert read_recipe(Path("digits"))[0].seed == 3
