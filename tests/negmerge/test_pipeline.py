"""Whole runs, on a narrow model and few epochs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from negmerge import compute
from negmerge.checkpoint import load_weights
from negmerge.console import Reporter
from negmerge.errors import DataError, RecipeError
from negmerge.evaluate import Scores
from negmerge.file_checksum import sha256_of
from negmerge.metrics.average_gap import average_gap
from negmerge.recipe_file import parse_recipe
from negmerge.results import Results
from negmerge.task import Task
from run_files import checksums, without_seconds
from runs import Killed, KilledAfter, run_text
from safetensors.torch import load_file, save_file

import negmerge_ext
from negmerge_ext.errors import OutputExistsError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_text: str) -> tuple[Path, Results]:
    """A run from start to end; tests leave its checkpoints as they are."""
    root = tmp_path_factory.mktemp("finished")
    return root, run_text(small_text, root)


def test_folder_holds_what_it_is_documented_to_hold(finished, small_text):
    root, results = finished
    names = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    methods, members = ("retrain", "single", "uniform", "negmerge"), ("000", "001", "002")
    searches = ("retrain", "uniform", "negmerge", *(f"single-{number}" for number in members))
    assert names == {
        "recipe.yaml",
        "results.json",
        "results.png",
        "report.html",
        "report.md",
        "agreement.json",
        "grad-cam.safetensors",
        "grad-cam.json",
        "base.safetensors",
        "base.json",
        "base-scores.json",
        *(f"pool/{number}.{suffix}" for number in members for suffix in ("safetensors", "json")),
        *(f"trained/retrain.{suffix}" for suffix in ("safetensors", "json")),
        *(f"patches/{name}.safetensors" for name in ("uniform", "negmerge")),
        *(f"search/{name}.json" for name in searches),
        *(f"merged/{name}.{suffix}" for name in methods for suffix in ("safetensors", "json")),
    }
    assert (root / "recipe.yaml").read_text() == small_text
    assert json.loads((root / "results.json").read_text()) == json.loads(json.dumps(results.to_dict()))


def test_reported_scores_are_those_of_the_written_files(finished, small):
    root, results = finished
    task = Task.prepare(small)
    torch.set_num_threads(small.threads)
    files = [
        root / "base.safetensors",
        *(root / "merged" / f"{row.method}.safetensors" for row in results.rows[1:]),
    ]
    for row, file in zip(results.rows, files, strict=True):
        model = load_weights(task.build_model(), file)
        assert task.evaluation.scores(model, "validation") == row.validation
        assert task.evaluation.scores(model, "test") == row.test
        scores, measures = task.evaluation.measuring(model, "test", attack=True)()
        assert (scores, measures) == (row.test, row.test_measures)
        _, measures = task.evaluation.measuring(model, "validation", attack=True)()
        assert measures == row.validation_measures


def test_choice_agrees_with_its_curve_and_with_the_file_written(finished):
    _, results = finished
    base, _, *rows = results.rows
    assert results.retain_floor == pytest.approx(0.95 * base.validation.retain)
    for row in rows:
        chosen = next(point for point in row.curve if point.coefficient == row.coefficient)
        assert Scores(chosen.forget, chosen.retain) == row.validation, (
            "a patch is the merged file, to the bit"
        )
        assert chosen in row.candidates
        qualifying = [point for point in row.curve if point.retain >= results.retain_floor]
        assert chosen.forget == min(point.forget for point in qualifying)
        assert row.curve[0].coefficient == 0
        assert Scores(row.curve[0].forget, row.curve[0].retain) == base.validation


def test_costs_are_counted(finished):
    _, results = finished
    base, retrained, single, uniform, negmerge = results.rows
    assert base.evaluations == retrained.evaluations == 1
    assert base.training_seconds > 0 < retrained.training_seconds
    pool_seconds = sum(member.seconds for member in results.pool)
    for row in (single, uniform, negmerge):
        assert row.training_seconds == pytest.approx(pool_seconds)
    for row in (uniform, negmerge):
        assert row.evaluations == len(row.curve) - 1
        assert len(row.candidates) == 1
    assert len(single.candidates) == 3
    assert single.evaluations >= 3 * 5
    assert single.validation.forget == min(point.forget for point in single.candidates)


def test_merged_files_are_merges_of_the_pool_files(finished, tmp_path):
    root, results = finished
    pool = [root / member.file for member in results.pool]
    for row in results.rows[3:]:
        out = tmp_path / "again.safetensors"
        report = negmerge_ext.merge(
            root / "base.safetensors", pool, out=out, method=row.method, scale=row.coefficient, overwrite=True
        )
        again, written = load_file(out), load_file(root / "merged" / f"{row.method}.safetensors")
        assert all(torch.equal(again[name], written[name]) for name in written)
        assert (row.kept, row.elements) == (report.kept, report.model_elements)


def test_frozen_parameters_have_zero_task_vectors_and_others_have_not(finished):
    root, results = finished
    base = load_file(root / "base.safetensors")
    for member in results.pool:
        tuned = load_file(root / member.file)
        for name, tensor in base.items():
            moved = not torch.equal(tensor, tuned[name])
            assert moved == (not name.startswith(("head.", "normalise."))), name


def test_pool_members_differ_in_what_the_recipe_varies(finished):
    _, results = finished
    assert [member.hyperparameters["learning_rate"] for member in results.pool] == [0.001, 0.003, 0.01]
    assert len({member.loss for member in results.pool}) == 3


def test_counts_of_images(finished, small):
    _, results = finished
    labels = Task.prepare(small).images.labels
    forget = sum(part["forget"] for part in results.images.values())
    retain = sum(part["retain"] for part in results.images.values())
    assert forget == np.count_nonzero(labels == 3)
    assert forget + retain == len(labels)


def test_running_again_repeats_nothing_and_says_so(finished, small_text, capfd):
    root, results = finished
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.parent.name or path.is_file()}
    again = run_text(small_text, root, Reporter())
    assert again == results
    assert capfd.readouterr().err.count("Nothing was recomputed") == 1
    rewritten = {path.name for path in before if path.is_file() and path.stat().st_mtime_ns != before[path]}
    assert rewritten == {"results.json", "results.png", "report.html", "report.md"}


def test_killed_runs_go_on_to_the_same_results(finished, small_text, tmp_path):
    root, results = finished
    kills = 0
    for steps in (2, 6, 7, 3, 9, 2, 11, 6):  # in each training, between fine-tunings, in each search
        try:
            run_text(small_text, tmp_path, KilledAfter(steps))
        except Killed:
            kills += 1
    assert kills >= 5
    resumed = run_text(small_text, tmp_path)
    assert checksums(tmp_path) == checksums(root)
    assert without_seconds(resumed.to_dict()) == without_seconds(results.to_dict())


def test_a_changed_recipe_repeats_what_it_concerns(finished, small_text, tmp_path):
    root, _ = finished
    shutil.copytree(root, tmp_path / "run")
    before = checksums(tmp_path / "run")
    run_text(small_text.replace("[0.001, 0.003, 0.01]", "[0.001, 0.003]"), tmp_path / "run", overwrite=True)
    smaller = checksums(tmp_path / "run")
    gone = {"pool/002.safetensors"}
    merged = {name for name in before if name.startswith(("merged/", "patches/", "grad-cam"))}
    assert set(before) - set(smaller) == gone
    kept = set(smaller) - merged
    assert {name: smaller[name] for name in kept} == {name: before[name] for name in kept}
    assert smaller["merged/uniform.safetensors"] != before["merged/uniform.safetensors"]

    run_text(small_text, tmp_path / "run", overwrite=True)
    assert checksums(tmp_path / "run") == before, "going back gives the first result again"


def test_another_forget_set_keeps_the_base_and_repeats_the_rest(finished, small_text, tmp_path):
    root, _ = finished
    shutil.copytree(root, tmp_path / "run")
    text = small_text.replace("classes: [3]", "classes: [7]")
    changed, fresh = run_text(text, tmp_path / "run", overwrite=True), run_text(text, tmp_path / "fresh")
    assert checksums(tmp_path / "run") == checksums(tmp_path / "fresh")
    assert without_seconds(changed.to_dict()) == without_seconds(fresh.to_dict())
    assert checksums(tmp_path / "run")["base.safetensors"] == checksums(root)["base.safetensors"]


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def drop(path: Path, *keys: str) -> None:
    """Take facts out of a record."""
    plain = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in plain.items() if name not in keys}))


def test_what_is_damaged_is_done_again(finished, small_text, tmp_path):
    root, results = finished
    run = tmp_path / "run"
    shutil.copytree(root, run)
    drop(run / "base.json", "seconds")
    (run / "base.safetensors").write_bytes(b"")
    drop(run / "agreement.json", "tensors")
    (run / "base-scores.json").unlink()
    (run / "base-scores.json").mkdir()
    (run / "pool" / "001.json").write_text("{")
    drop(run / "pool" / "002.json", "validation")
    search = json.loads((run / "search" / "negmerge.json").read_text())
    del search["result"]["points"]
    (run / "search" / "negmerge.json").write_text(json.dumps(search))
    drop(run / "merged" / "negmerge.json", "curve")
    merged = json.loads((run / "merged" / "uniform.json").read_text())
    merged["test"]["forget"] = "high"
    (run / "merged" / "uniform.json").write_text(json.dumps(merged))
    maps = run / "grad-cam.safetensors"
    maps.write_bytes(maps.read_bytes()[:-4])
    drop(run / "grad-cam.json", "file_size")
    again = run_text(small_text, run)
    assert without_seconds(again.to_dict()) == without_seconds(results.to_dict())
    assert checksums(run) == checksums(root)


def test_a_member_with_other_bits_under_its_key_is_merged_again(finished, small_text, tmp_path):
    """As a GPU gives them when a fine-tuning is repeated."""
    root, results = finished
    run = tmp_path / "run"
    shutil.copytree(root, run)
    weights = {name: tensor * 1.5 for name, tensor in load_file(run / "pool" / "001.safetensors").items()}
    save_file(weights, run / "pool" / "001.safetensors", metadata={"format": "pt"})
    record = json.loads((run / "pool" / "001.json").read_text())
    record["sha256"] = sha256_of([run / "pool" / "001.safetensors"])
    (run / "pool" / "001.json").write_text(json.dumps(record))
    again = run_text(small_text, run)
    assert again.rows[4] != results.rows[4]
    merged = negmerge_ext.merge(
        run / "base.safetensors",
        [run / "pool" / f"{number:03d}.safetensors" for number in range(3)],
        scale=again.rows[4].coefficient,
    )
    written = load_file(run / "merged" / "negmerge.safetensors")
    assert all(torch.equal(merged[name], tensor) for name, tensor in written.items())
    assert again.rows[1] == results.rows[1], "Retrain takes nothing of the pool"


def test_a_run_whose_recipe_is_damaged_can_be_overwritten(finished, small_text, tmp_path):
    root, results = finished
    run = tmp_path / "run"
    shutil.copytree(root, run)
    (run / "recipe.yaml").write_text(small_text.replace("forget:", "froget:"))
    before = contents(run)
    with pytest.raises(
        OutputExistsError, match=r"(?s)holds a run whose recipe.*did you mean 'forget'.*--overwrite"
    ):
        run_text(small_text, run)
    assert contents(run) == before
    reporter = Reporter(quiet=True)
    assert run_text(small_text, run, reporter, overwrite=True) == results
    assert not reporter.worked, "the stages are those of this recipe"
    assert (run / "recipe.yaml").read_text() == small_text


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_damaged_recipe_alone_makes_no_run(small_text, tmp_path, overwrite):
    (tmp_path / "recipe.yaml").write_text("name: [")
    with pytest.raises(OutputExistsError, match=r"is no folder of a run.*recipe\.yaml: is not valid YAML"):
        run_text(small_text, tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {tmp_path / "recipe.yaml": b"name: ["}


def test_a_folder_belongs_to_one_recipe(finished, small_text):
    root, _ = finished
    before = contents(root)
    other = small_text.replace("epochs: 6", "epochs: 7") + "seed: 1\n"
    with pytest.raises(
        OutputExistsError, match=r"differs from this one in seed, training\.epochs\. .*--overwrite"
    ):
        run_text(other, root)
    assert contents(root) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_somebody_else_are_left_alone(small_text, tmp_path, overwrite):
    (tmp_path / "base.safetensors").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"holds base\.safetensors"):
        run_text(small_text, tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {tmp_path / "base.safetensors": b"mine"}


def test_another_seed_is_another_run(finished, small_text, tmp_path):
    root, results = finished
    other = run_text(small_text + "seed: 1\n", tmp_path)
    assert other.data_sha256 == results.data_sha256
    assert checksums(tmp_path)["base.safetensors"] != checksums(root)["base.safetensors"]


def test_random_training_images_can_be_forgotten_too(small_text, tmp_path):
    text = small_text.replace("classes: [3]", "fraction: 0.1").replace(
        "[retrain, single, uniform, negmerge]", "[negmerge]"
    )
    results = run_text(text, tmp_path)
    assert results.images["validation"]["forget"] == results.images["train"]["forget"]
    assert results.forgotten == "10 % of the training images of digits, at random"
    assert len(results.rows) == 2
    assert results.rows[1].test_measures is None, "nothing to compare with, so nothing more is measured"


def test_retrain_never_saw_the_forget_set(finished, small):
    root, results = finished
    retrained = results.rows[1]
    assert (retrained.method, retrained.coefficient, retrained.kept) == ("retrain", None, None)
    assert retrained.test.forget == retrained.test_measures.forget == 0
    trained = load_file(root / "trained" / "retrain.safetensors")
    merged = load_file(root / "merged" / "retrain.safetensors")
    assert all(torch.equal(trained[name], merged[name]) for name in merged)
    assert results.average_gap(retrained) == 0
    assert results.average_gap(results.rows[0]) > 0.1


def test_the_smallest_gap_on_validation_can_be_searched(small_text, tmp_path):
    text = small_text.replace("points: 6", "objective: gap, points: 6").replace("single, uniform, ", "")
    text = text.replace("[retrain, negmerge]", "[negmerge, retrain]").replace("classes: [3]", "fraction: 0.2")
    results = run_text(text, tmp_path)
    base, retrained, negmerge = results.rows
    assert retrained.method == "retrain", "it comes first: others are searched by it"
    assert results.retain_floor is None
    chosen = next(point for point in negmerge.curve if point.coefficient == negmerge.coefficient)
    assert chosen.gap == min(point.gap for point in negmerge.curve)
    assert chosen.gap == average_gap(negmerge.validation_measures, retrained.validation_measures)
    assert negmerge.curve[0].gap == average_gap(base.validation_measures, retrained.validation_measures)

    reporter = Reporter(quiet=True)
    assert run_text(text, tmp_path, reporter) == results
    assert not reporter.worked


def test_adding_retrain_later_keeps_pool_and_searches(finished, small_text, tmp_path):
    _, results = finished
    run_text(small_text.replace("retrain, ", ""), tmp_path)
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("pool/*") if path.suffix}
    added = run_text(small_text, tmp_path, overwrite=True)
    assert without_seconds(added.to_dict()) == without_seconds(results.to_dict())
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_bad_data_is_refused_before_anything_is_written(small_text, tmp_path):
    with pytest.raises(DataError, match="no class has number 12"):
        run_text(small_text.replace("[3]", "[12]"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("freeze", "says"),
    [('["haed.*"]', r"pool\.freeze: 'haed\.\*'.*'head\.\*'"), ('["*"]', "is left to train")],
)
def test_a_freeze_that_cannot_be_is_refused_before_anything_is_trained(small_text, tmp_path, freeze, says):
    with pytest.raises(RecipeError, match=says):
        run_text(small_text.replace('["head.*"]', freeze), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_torch_settings_are_as_before(finished, small_text):
    root, _ = finished
    torch.use_deterministic_algorithms(False)
    before = torch.get_num_threads()
    run_text(small_text, root)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == before


STATISTICS = """
name: statistics
data: {name: digits}
forget: {classes: [3]}
model: {name: resnet18, width: 2}
training: {epochs: 1, learning_rate: 0.01}
pool: {epochs: 1, learning_rate: [0.003, 0.01], optimizer: sgd}
search: {points: 3, refinements: 0, limit: 1}
methods: [negmerge]
"""


@pytest.mark.parametrize("frozen", [True, False])
def test_running_statistics_are_the_bases_in_every_merged_model(tmp_path, frozen):
    text = STATISTICS.replace("optimizer: sgd", f"freeze_statistics: {str(frozen).lower()}")
    results = run_text(text, tmp_path)
    base, merged = (
        load_file(tmp_path / "base.safetensors"),
        load_file(tmp_path / "merged/negmerge.safetensors"),
    )
    statistics = [
        name for name in base if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert len(statistics) == 3 * 20
    for member in results.pool:
        tuned = load_file(tmp_path / member.file)
        assert all(torch.equal(base[name], tuned[name]) == frozen for name in statistics)
    assert all(torch.equal(base[name], merged[name]) for name in statistics)


def test_a_pretrained_classifier_is_the_base_without_training(tmp_path):
    run_text(STATISTICS, tmp_path / "first")
    given = tmp_path / "first" / "base.safetensors"
    text = STATISTICS.replace("width: 2", f"width: 2, pretrained: {given}").replace(
        "training: {epochs: 1, learning_rate: 0.01}\n", ""
    )
    results = run_text(text, tmp_path / "second")
    base, taken = load_file(given), load_file(tmp_path / "second" / "base.safetensors")
    assert all(torch.equal(base[name], taken[name]) for name in base if name.startswith("network."))
    assert results.rows[0].training_seconds == 0
    retrain = text.replace("[negmerge]", "[retrain, negmerge]")
    with pytest.raises(RecipeError, match="retrain is trained as the base was, and training is missing"):
        parse_recipe(retrain, "recipe")


def test_a_device_that_models_are_moved_to_changes_nothing(small_text, tmp_path, monkeypatch):
    """Stands for a GPU: the device has another name than the CPU, and what is moved there gets new memory."""
    text = small_text.replace(
        "points: 6, refinements: 1", "objective: gap, points: 3, refinements: 0"
    ).replace(
        "methods: [retrain, single, uniform, negmerge]",
        "methods: [retrain, single, uniform, greedy, ties, magmax, conflict, negmerge]",
    )
    here = run_text(text, tmp_path / "here")
    to = torch.nn.Module.to

    def moving(self: torch.nn.Module, *words: object, **options: object) -> torch.nn.Module:
        moved = to(self, *words, **options)
        if torch.device("cpu", 0) in words:
            for tensor in (*moved.parameters(), *moved.buffers()):
                tensor.data = tensor.data.clone()
        return moved

    monkeypatch.setattr(torch.nn.Module, "to", moving)
    monkeypatch.setattr(compute, "device_named", lambda name: torch.device("cpu", 0))
    there = run_text(text, tmp_path / "there")
    assert without_seconds(there.rows) == without_seconds(here.rows)
    assert [member.device for member in there.pool] == ["cpu:0"] * 3
    names = [f"merged/{row.method}.safetensors" for row in here.rows[1:]]
    files = (
        {name: found[name] for name in names}
        for found in map(checksums, (tmp_path / "here", tmp_path / "there"))
    )
    assert next(files) == next(files)
