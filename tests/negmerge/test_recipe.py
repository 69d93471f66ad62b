from __future__ import annotations

from pathlib import Path

import pytest
from negmerge.errors import RecipeError
from negmerge.recipe import Pool, Recipe, Training
from negmerge.recipe_file import embedded_recipe, parse_recipe, read_recipe

from negmerge_ext.errors import InputError


def refused(text: str) -> str:
    with pytest.raises(RecipeError) as problem:
        parse_recipe(text, "my.yaml")
    message = str(problem.value)
    assert message.startswith("my.yaml: ")
    return message


def test_a_folder_of_its_name_does_not_hide_a_recipe_of_the_package(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("digits")) == embedded_recipe("digits")


def test_embedded_recipe_makes_a_pool_of_eight_or_more():
    recipe, text = embedded_recipe("digits")
    assert recipe.name == "digits"
    assert len(recipe.pool.members()) >= 8
    assert parse_recipe(text, "again") == recipe


def test_pool_is_every_combination_of_its_values():
    pool = Pool(epochs=2, learning_rate=[0.1, 0.2], weight_decay=[0.0, 0.5, 1.0], seed=[7, 8], batch_size=16)
    members = pool.members()
    assert len(members) == 2 * 3 * 2
    assert {(one.learning_rate, one.weight_decay, one.seed) for one in members} == {
        (rate, decay, seed) for rate in (0.1, 0.2) for decay in (0.0, 0.5, 1.0) for seed in (7, 8)
    }
    assert {(one.epochs, one.batch_size, one.augmentation) for one in members} == {(2, 16, 0.0)}


def test_numbers_with_an_exponent_and_no_point_are_numbers(small_text):
    recipe = parse_recipe(small_text.replace("learning_rate: 0.01", "learning_rate: 1e-2"), "my.yaml")
    assert recipe.training.learning_rate == 0.01


def test_methods_have_hyper_parameters_of_their_own(small_text):
    written = "ties, {name: ties, density: 0.1}, {name: ties, density: 0.1, per: tensor}"
    recipe = parse_recipe(small_text.replace("uniform, negmerge", written), "my.yaml")
    ties = recipe.methods[2:]
    assert [one.called for one in ties] == ["ties", "ties-density-0.1", "ties-density-0.1-per-tensor"]
    assert [one.method.title for one in ties] == [
        "TIES",
        "TIES (density 0.1)",
        "TIES (density 0.1, per tensor)",
    ]
    assert [one.method.merges for one in ties] == [
        ("ties:density=0.2,per=model",),
        ("ties:density=0.1,per=model",),
        ("ties:density=0.1,per=tensor",),
    ]
    assert recipe.model_dump(mode="json")["methods"][1:4] == [
        "single",
        {"name": "ties", "density": 0.2, "per": "model"},
        {"name": "ties", "density": 0.1, "per": "model"},
    ]
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_what_equals_a_default_is_the_same_as_nothing(small_text):
    spelt_out, plain = (
        parse_recipe(small_text.replace("uniform", written), "my.yaml")
        for written in ("{name: ties, density: 0.2, per: model}", "ties")
    )
    assert spelt_out == plain


@pytest.mark.parametrize(
    ("written", "typo", "line", "nearest"),
    [
        ("search:", "serach:", 12, "'search'"),
        ("  freeze:", "  freez:", 11, "'freeze'"),
        ("  freeze:", "  linearized: true\n  freeze:", 11, "'linearised'"),
        ("{points: 6", "{point: 6", 12, "'points'"),
        ("width: 4", "widht: 4", 5, "'width'"),
    ],
)
def test_unknown_key_names_line_section_and_nearest_key(small_text, written, typo, line, nearest):
    message = refused(small_text.replace(written, typo))
    assert f"line {line}: unknown key" in message
    assert f"did you mean {nearest}?" in message


def test_unknown_key_that_resembles_nothing_lists_the_known_ones(small_text):
    message = refused(small_text.replace("width: 4", "width: 4, zzz: 1"))
    assert "unknown key 'zzz' in model; known: name, width, pretrained" in message


@pytest.mark.parametrize(
    ("written", "wrong", "says"),
    [
        (
            "name: digits",
            "name: digitz",
            "line 3: data.name: no data set is called 'digitz'; did you mean",
        ),
        ("small_cnn", "smal_cnn", "model.name: no model is called 'smal_cnn'; did you mean 'small_cnn'?"),
        (
            "uniform, negmerge]",
            "negmerg]",
            "methods[2]: no method is called 'negmerg'; did you mean",
        ),
        (
            "uniform, negmerge]",
            "{name: ties, densty: 0.1}]",
            "line 13: unknown key 'densty' in methods[2]; did you mean 'density'?",
        ),
        (
            "uniform, negmerge]",
            "{name: negmerge, density: 0.1}]",
            "unknown key 'density' in methods[2]: it has none",
        ),
        (
            "uniform, negmerge]",
            "{name: ties, density: 1.5}]",
            "methods[2].density: 1.5 should be less than or equal to 1",
        ),
        ("uniform, negmerge]", "{name: ties, density: true}]", "methods[2].density: true is not a number"),
        ("uniform, negmerge]", "'ties:density=0.1']", "stand beside the name: {name: ties, ...}"),
        ("uniform, negmerge]", "{name: tie, density: 1}]", "methods[2]: no method is called 'tie'"),
        ("uniform, negmerge]", "{density: 0.1}]", "methods[2]: a method is its name, or {name: "),
        ("uniform, negmerge]", "ties, {name: ties, density: 0.2}]", "methods: lists ties twice; a default"),
        ("classes: [3]", "classes: []", "forget.classes: lists nothing"),
        ("classes: [3]", "classes: [3.5]", "3.5 is neither the name nor the number of a class"),
        (
            "classes: [3]",
            "classes: [3], fraction: 0.1",
            "forget: give exactly one of",
        ),
        ("{classes: [3]}", "{}", "forget: give exactly one of"),
        ("[0.001, 0.003, 0.01]", "[0.001, 0.001]", "line 9: pool.learning_rate: lists a value twice"),
        (
            "[0.001, 0.003, 0.01]",
            "[0.001, -1]",
            "line 9: pool.learning_rate[1]: -1 should be greater than 0",
        ),
        ("[0.001, 0.003, 0.01]", "fast", "pool.learning_rate[0]: 'fast' is not a number"),
        (
            "points: 6",
            "objective: gaps, points: 6",
            "line 12: search.objective: 'gaps' is not one of its values; did you mean 'gap'?",
        ),
        ("points: 6", "points: 1", "search.points: 1 should be greater than or equal to 2"),
        ("limit: 4", "limit: .inf", "search.limit: inf should be a finite number"),
        ("limit: 4", "retain_ratio: 1.5", "search.retain_ratio: 1.5 should be less than or equal to 1"),
        ("{name: digits}", "{name: digits, validation: 0.6, test: 0.4}", "leave nothing to train on"),
        ("name: small\n", "name: ../up\n", "line 2: name: String should match pattern"),
        ("name: small\n", "", "name is missing"),
        ("forget: {classes: [3]}\n", "", "give either forget, a part of the data set, or retain"),
        ("forget: {classes: [3]}\n", "retain: [mnist]\n", "retain needs a model of images and text"),
        ("width: 4}", "width: 4}\ndevice: gpu", "device: String should match pattern"),
        ("batch_size: 32", "warm_up: 1.5", "pool.warm_up: 1.5 is no share below 1"),
        ("batch_size: 32", "schedule: steps", "pool: milestones are the epochs of schedule: steps"),
        (
            "batch_size: 32",
            "accumulation: 0",
            "pool.accumulation: 0 should be greater than or equal to 1",
        ),
        (
            "batch_size: 32",
            "batch_size: 32\n  accumulation: 33",
            "pool: accumulation: a step of batch_size 32 has no 33 parts",
        ),
        (
            "batch_size: 32",
            "linearised: true\n  freeze_statistics: false",
            "pool: linearised expands the base with its own statistics",
        ),
        ("batch_size: 32", "randaugment_m: 11", "pool.randaugment_m[0]: 11 should be less than or equal"),
        (
            "{epochs: 6, learning_rate: 0.01, label_smoothing: 0.1}",
            "null",
            "give training, or model.pretrained",
        ),
    ],
)
def test_wrong_values_are_named(small_text, written, wrong, says):
    assert says in refused(small_text.replace(written, wrong))


@pytest.mark.parametrize(
    ("written", "wrong", "says"),
    [
        ("batch_size: 32", "warm_up: .nan", "pool.warm_up: nan is neither"),
        ("batch_size: 32", f"batch_size: {2**70}", "pool.batch_size"),
        ("epochs: 3", "epochs: 1.0e+300", "pool.epochs[0]: 1e+300 is not a number above 0 and at most"),
        ("width: 4", "width: 1000000000", "model.width: 1000000000 should be less than or equal to 1024"),
        ("points: 6", "points: 1000000000", "search.points: 1000000000 should be less than or equal to"),
        ("limit: 4", "limit: 1.0e+300", "search.limit: 1e+300 should be less than or equal to 1000"),
        ("refinements: 1", "refinements: 1000000", "search.refinements: 1000000 should be less than"),
        (
            "name: small\n",
            "name: small\nthreads: 1000000000000\n",
            "threads: 1000000000000 should be less than",
        ),
        ("name: small\n", "name: small\nseed: true\n", "line 3: seed: true is not a whole number"),
        ("name: small\n", "name: small\nseed: 1.0\n", "line 3: seed: 1.0 is not a whole number"),
        ("name: small\n", f"name: {'a' * 400}\n", "name: String should have at most 100 characters"),
        ("batch_size: 32", "linearised: 1", "pool.linearised: 1 is neither true nor false"),
        ("epochs: 3", f"epochs: {[*range(1, 1200)]}", "pool.epochs: lists more than 1,000 values"),
        ("epochs: 3", f"epochs: {[*range(1, 400)]}", "1,197 combinations; at most 1,000"),
        ("forget: {classes: [3]}", "forget: three", "forget: 'three' is no section: keys with values"),
        ("name: small\n", "name: 5\n", "name: 5 is not text"),
        ("name: small\n", "name: 2024-13-45\n", "is not valid YAML: month must be in 1..12"),
        ("classes: [3]", f"classes: {'[' * 3000}{']' * 3000}", "is nested too deeply"),
    ],
)
def test_values_out_of_all_proportion_are_refused_by_name(small_text, written, wrong, says):
    assert says in refused(small_text.replace(written, wrong))


def test_a_long_list_of_mistakes_is_cut_short(small_text):
    message = refused(small_text.replace("classes: [3]", f"indices: {[-1] * 500}"))
    assert "500 mistakes" in message
    assert "and 480 more" in message


def test_the_gap_to_retrain_needs_retrain(small_text):
    by_gap = small_text.replace("points: 6", "objective: gap, points: 6")
    assert parse_recipe(by_gap, "my.yaml").search.objective == "gap"
    assert "gap needs retrain among the methods" in refused(by_gap.replace("retrain, ", ""))


def test_all_mistakes_are_listed_together(small_text):
    message = refused(small_text.replace("points: 6", "point: 6").replace("epochs: 3", "epochs: 0"))
    assert "2 mistakes" in message
    assert "point" in message
    assert "pool.epochs" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a recipe"),
        ("- a\n- b\n", "is not a recipe"),
        ("name: [unclosed\n", "is not valid YAML: line 2"),
        ("name: x\nseed: 1\nname: y\n", "line 3: the key 'name' stands here a second time"),
        ("name: !!python/object/apply:os.system ['true']\n", "is not valid YAML: line 1"),
        ("name: x\n? [a, b]\n: 1\n", "is not valid YAML: line 2"),
        ("1: x\n", "line 1: unknown key '1'"),
    ],
)
def test_what_is_not_a_recipe_is_refused(text, says):
    assert says in refused(text)


def test_missing_and_undecodable_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"absent\.yaml: cannot be read: No such file"):
        read_recipe(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe")
    with pytest.raises(RecipeError, match=r"binary\.yaml: cannot be read: is not UTF-8"):
        read_recipe(binary)


def test_recipe_errors_are_input_errors():
    assert issubclass(RecipeError, InputError)


def test_keys_of_a_retained_set_are_checked_too(small_text):
    clip = small_text.replace("small_cnn, width: 4", "clip/vit").replace("retrain, ", "")
    several = clip.replace("forget: {classes: [3]}", "retain:\n  - mnist\n  - {name: svhn, validatoin: 0.1}")
    message = refused(several)
    assert "line 6: unknown key 'validatoin' in retain[1]; did you mean 'validation'?" in message


def test_retrain_is_for_classifiers(small_text):
    clip = small_text.replace("small_cnn, width: 4", "clip/vit").replace(
        "forget: {classes: [3]}", "retain: mnist"
    )
    assert "methods: retrain trains a classifier from scratch; clip/vit is none" in refused(clip)
    recipe = parse_recipe(clip.replace("retrain, ", ""), "my.yaml")
    assert [one.name for one in recipe.data_sets] == ["digits", "mnist"]


def test_pool_and_training_have_the_same_hyper_parameters():
    names = set(Training.model_fields)
    assert names == set(Pool.model_fields) - {"freeze", "freeze_statistics", "linearised"}
    same = {name: Training.model_fields[name].default for name in names - {"epochs", "learning_rate"}}
    pool = Pool(epochs=1, learning_rate=1.0)
    assert pool.members() == [Training(epochs=1, learning_rate=1.0)]
    assert all(getattr(pool, name) in (value, [value]) for name, value in same.items())
