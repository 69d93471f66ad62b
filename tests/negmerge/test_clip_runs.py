"""Whole runs in which a model of images and text forgets a data set, on toy data and a tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import toy_sets
from data_files import picture
from negmerge.clip_base import clip_base, clip_key
from negmerge.data import DATA_SETS
from negmerge.data.prompts import prompts
from negmerge.errors import CorruptImageError, DataError, RecipeError
from negmerge.models import MODELS
from negmerge.pipeline import Way
from negmerge.recipe_file import parse_recipe
from negmerge.report.pool_table import pool_table
from negmerge.report.retained_table import retained_table
from negmerge.results import Results
from negmerge.run_folder import RunFolder
from negmerge.task import Task
from run_files import checksums, without_seconds
from runs import QUIET, Killed, KilledAfter, run_text
from safetensors.torch import load_file
from tiny_clip import save_tiny_clip

PRETRAINED = """
name: tiny
data: {{name: toy-grey}}
retain: [toy-colour, toy-large]
model: {{name: "open_clip/local-dir:{folder}"}}
pool:
  epochs: 2
  learning_rate: [0.001, 0.003, 0.01]
  batch_size: 16
  randaugment_n: 1
  freeze: attention
search: {{points: 4, refinements: 1, limit: 2}}
methods: [single, uniform, negmerge]
"""

TRAINED = """
name: trained
data: {name: toy-grey, split_seed: 0}
retain: [{name: toy-colour, split_seed: 0}]
model: {name: clip/vit, image_size: 16}
training: {epochs: 16, learning_rate: 0.002, batch_size: 32}
pool: {epochs: 1, learning_rate: [0.001, 0.003], batch_size: 16}
search: {points: 3, refinements: 0, limit: 1}
methods: [negmerge]
"""


@pytest.fixture(autouse=True, scope="module")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with toy_sets.registered() as patched:
        patched.setenv("NEGMERGE_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return PRETRAINED.format(folder=save_tiny_clip(tmp_path_factory.mktemp("tiny") / "clip"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, text: str) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("finished")
    return root, run_text(text, root)


def test_every_retained_set_is_reported_and_their_mean_counts(finished):
    _, results = finished
    assert results.forgotten == "all of toy-grey"
    assert set(results.data_sha256) == {"toy-grey", "toy-colour", "toy-large"}
    assert results.images["train"] == {"forget": 48, "retain": 96}
    for row in results.rows:
        for scores in (row.validation, row.test):
            assert set(scores.by_set) == {"toy-colour", "toy-large"}
            assert scores.retain == pytest.approx(sum(scores.by_set.values()) / 2)
    assert Results.from_dict(json.loads(json.dumps(results.to_dict()))) == results


def test_the_table_has_a_column_for_each_retained_set(finished):
    _, results = finished
    table = retained_table(results)
    assert table is not None
    assert table.headings == ("toy-colour", "toy-large", "Mean")
    assert [row[0] for row in table.rows] == [row.title for row in results.rows]
    last = results.rows[-1].test
    assert table.rows[-1][1:] == tuple(f"{100 * share:.1f}" for share in (*last.by_set.values(), last.retain))


def test_the_page_shows_every_data_set(finished):
    root, _ = finished
    page = (root / "report.html").read_text()
    assert "What is retained, set by set" in page
    for label in ("toy-grey", "toy-colour", "toy-large"):
        assert f"SHA-256 of {label}" in page


def test_checkpoints_hold_the_image_tower_and_frozen_parameters_have_zero_task_vectors(finished):
    root, results = finished
    base = load_file(root / "base.safetensors")
    assert all(name.startswith("visual.") for name in base)
    attention = [name for name in base if ".attn." in name]
    assert len(attention) == 2 * 4
    for member in results.pool:
        tuned = load_file(root / member.file)
        assert set(tuned) == set(base)
        for name, tensor in base.items():
            assert torch.equal(tensor, tuned[name]) == (name in attention), name


def test_text_heads_come_from_the_whole_model_and_stay_what_they_are(finished, text):
    root, _ = finished
    before = (root / "heads.safetensors").read_bytes()
    model = parse_recipe(text, "recipe").model
    clip = MODELS.get(model.name)(model, with_weights=True)
    heads = load_file(root / "heads.safetensors")
    for label, source in (("toy-grey", toy_sets.GREY), ("toy-large", toy_sets.LARGE)):
        texts = prompts(label, source.load(None).class_names)
        for row, of_class in zip(heads[label], texts, strict=True):
            with torch.inference_mode():
                embeddings = clip.model.encode_text(clip.tokenize(of_class), normalize=True)
            mean = torch.nn.functional.normalize(embeddings.mean(dim=0), dim=0)
            torch.testing.assert_close(row, mean * clip.model.logit_scale.exp())
    run_text(text, root)
    assert (root / "heads.safetensors").read_bytes() == before


def test_scores_are_those_of_tower_and_head_on_the_right_images(finished, text):
    root, results = finished
    task = Task.prepare(parse_recipe(text, "recipe"))
    tower = task.build_model().eval()
    tower.load_state_dict(load_file(root / "merged" / "negmerge.safetensors"))
    heads = load_file(root / "heads.safetensors")
    row = results.rows[-1]
    wanted = {"toy-grey": row.test.forget, **row.test.by_set}
    for data in task.sets:
        images = torch.from_numpy(data.images.images[data.splits.test])
        labels = torch.from_numpy(data.images.labels[data.splits.test])
        with torch.inference_mode():
            predicted = (tower(images.float() / 255) @ heads[data.label].T).argmax(dim=1)
        assert (predicted == labels).float().mean().item() == pytest.approx(wanted[data.label]), data.label


def test_killed_runs_go_on_to_the_same_results(finished, text, tmp_path):
    root, results = finished
    kills = 0
    for steps in (1, 2, 3, 5, 4):
        try:
            run_text(text, tmp_path, KilledAfter(steps))
        except Killed:
            kills += 1
    assert kills >= 3
    resumed = run_text(text, tmp_path)
    assert checksums(tmp_path) == checksums(root)
    assert without_seconds(resumed.to_dict()) == without_seconds(results.to_dict())


def test_a_forget_set_that_is_also_retained_is_refused(text, tmp_path, monkeypatch):
    with pytest.raises(RecipeError, match=r"data and retain name toy-grey more than once.* label"):
        parse_recipe(text.replace("[toy-colour, ", "[toy-grey, "), "recipe")
    monkeypatch.setitem(DATA_SETS._entries, "toy-twin", "toy_sets:GREY")
    twin = text.replace("[toy-colour, ", "[toy-twin, ")
    with pytest.raises(DataError, match="the forget set and the retain set are the same"):
        run_text(twin, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_corrupt_image_is_one_error_that_names_it(text, tmp_path):
    for split in ("train", "test"):
        for number in range(8):
            for kind in ("cat", "dog"):
                picture(tmp_path / "pets" / split / kind / f"{number}.png", number)
    (tmp_path / "pets" / "test" / "dog" / "3.png").write_bytes(b"no image")
    folder = f"{{name: image-folder, folder: {tmp_path / 'pets'}, image_size: 8, validation: 0.25}}"
    with pytest.raises(CorruptImageError, match=r"dog/3\.png: cannot be decoded"):
        run_text(text.replace("[toy-colour, toy-large]", f"[{folder}]"), tmp_path / "run")


def test_two_processes_fine_tune_the_same_pool(text, tmp_path):
    """Each of them has the heads that the base's text tower made. They see no toy sets, but files.

    Two folders of one name go together by their labels.
    """
    sets = []
    for seed, name, kinds in ((0, "pets/images", ("cat", "dog")), (100, "birds/images", ("hen", "owl"))):
        for split in ("train", "test"):
            for kind in kinds:
                for number in range(8):
                    picture(tmp_path / name / split / kind / f"{number}.png", seed + number)
        one = f"name: image-folder, folder: {tmp_path / name}, image_size: 8, validation: 0.25"
        sets.append(f"{{{one}, label: {name.split('/')[0]}}}")
    text = text.replace("{name: toy-grey}", sets[0]).replace("[toy-colour, toy-large]", f"[{sets[1]}]")
    found = []
    for devices in (("cpu",), ("cpu", "cpu")):
        root = tmp_path / str(len(devices))
        results = run_text(text, root, way=Way(devices))
        assert [*results.data_sha256] == ["pets", "birds"]
        assert results.forgotten == "all of pets"
        found.append({name: digest for name, digest in checksums(root).items() if name.startswith("pool/")})
    assert len(found[0]) == 3
    assert found[0] == found[1]


def test_another_seed_in_the_same_folder_is_another_pool(tmp_path):
    """The base is the same for every seed, and splits that have a seed of their own are."""
    first = run_text(TRAINED, tmp_path / "both")
    another = TRAINED + "seed: 5\n"
    second = run_text(another, tmp_path / "both", overwrite=True)
    alone = run_text(another, tmp_path / "alone")
    assert checksums(tmp_path / "both") == checksums(tmp_path / "alone")
    assert without_seconds(second.to_dict()) == without_seconds(alone.to_dict())
    assert [one.loss for one in first.pool] != [one.loss for one in second.pool]


def test_a_forget_set_that_the_seed_draws_is_part_of_the_key():
    drawn = TRAINED.replace("retain: [{name: toy-colour, split_seed: 0}]", "forget: {fraction: 0.25}")
    tasks = [Task.prepare(parse_recipe(text, "recipe")) for text in (drawn, drawn + "seed: 5\n")]
    assert clip_key(tasks[0]) == clip_key(tasks[1])
    assert tasks[0].forget_key != tasks[1].forget_key
    assert tasks[0].forget_key == Task.prepare(parse_recipe(drawn, "recipe")).forget_key


@pytest.mark.parametrize("online", [False, True])
def test_other_data_to_retain_is_scored_without_fine_tuning_again(tmp_path, online):
    save_tiny_clip(tmp_path / "clip")
    text = PRETRAINED.format(folder=tmp_path / "clip").replace("single, ", "")
    other = text.replace("[toy-colour, toy-large]", "[toy-large]")
    way = Way(online=online)
    run_text(text, tmp_path / "run", way=way)
    before = checksums(tmp_path / "run")
    changed = run_text(other, tmp_path / "run", overwrite=True, way=way)
    fresh = run_text(other, tmp_path / "fresh")
    assert {one: before[one] for one in before if one.startswith(("pool/", "patches/"))} == {
        one: digest
        for one, digest in checksums(tmp_path / "run").items()
        if one.startswith(("pool/", "patches/"))
    }
    if online:
        assert [member.validation for member in changed.pool] == [None] * 3
        assert "scored on other images" in " ".join(pool_table(changed).notes)
    else:
        assert without_seconds(changed.pool) == without_seconds(fresh.pool)
    assert [row.validation for row in changed.rows] == [row.validation for row in fresh.rows]


def prepared(text: str, root: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """Seconds of training, and the tower, of the base that a run would have."""
    folder = RunFolder(root)
    with folder.locked():
        checkpoint, _ = clip_base(Task.prepare(parse_recipe(text, "recipe")), folder, QUIET)
    return checkpoint.seconds, load_file(checkpoint.path)


def test_a_base_is_trained_once_for_all_roles_and_seeds(tmp_path):
    results = run_text(TRAINED, tmp_path / "first")
    base = load_file(tmp_path / "first" / "base.safetensors")
    assert results.rows[0].test.forget > 0.5, "it has learnt what is to be forgotten"
    assert results.rows[0].test.retain > 0.5
    assert results.rows[0].training_seconds > 0
    swapped = TRAINED.replace("toy-grey", "x").replace("toy-colour", "toy-grey").replace("x,", "toy-colour,")
    for number, text in enumerate((swapped, TRAINED + "seed: 5\n")):
        seconds, tower = prepared(text, tmp_path / str(number))
        assert seconds == results.rows[0].training_seconds, "it was taken, not trained"
        assert all(torch.equal(base[name], tower[name]) for name in base)
    other = TRAINED.replace("batch_size: 32", "batch_size: 32, seed: 1")
    tasks = [Task.prepare(parse_recipe(text, "recipe")) for text in (TRAINED, swapped, other)]
    first, again, another = map(clip_key, tasks)
    assert first == again != another
