"""``finetune``, ``evaluate`` and ``report``: stages of a run by themselves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from negmerge import evaluating
from negmerge.console import Reporter
from negmerge.pipeline import run
from negmerge.recipe_file import parse_recipe
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, small_text: str) -> Path:
    """A finished run of the recipe ``small.yaml`` beside it."""
    place = tmp_path_factory.mktemp("place")
    (place / "small.yaml").write_text(small_text)
    run(parse_recipe(small_text, "recipe"), small_text, place / "run", Reporter(quiet=True))
    return place


@pytest.fixture
def recipe(finished: Path) -> Path:
    return finished / "small.yaml"


def test_finetune_does_the_first_stages_and_unlearn_goes_on(invoke, recipe, tmp_path, finished):
    done = invoke("finetune", recipe, "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "3 fine-tunings" in done.stdout
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "agreement.json",
        "base-scores.json",
        "base.json",
        "base.safetensors",
        "pool",
        "recipe.yaml",
    ]
    again = invoke("finetune", recipe, "-o", tmp_path / "run", "--json")
    assert again.returncode == 0
    assert len(json.loads(again.stdout)["pool"]) == 3
    on = invoke("unlearn", recipe, "-o", tmp_path / "run", "--json")
    ours, theirs = json.loads(on.stdout), json.loads((finished / "run" / "results.json").read_text())
    assert [row["test"] for row in ours["rows"]] == [row["test"] for row in theirs["rows"]]


def test_finetune_online_keeps_merged_vectors_only(invoke, small_text, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(small_text.replace("single, ", ""))
    done = invoke("finetune", recipe, "-o", tmp_path / "run", "--online")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "run" / "patches").iterdir()) == [
        "negmerge.safetensors",
        "uniform.safetensors",
    ]
    assert not list((tmp_path / "run").glob("pool/*"))


def test_online_with_a_method_that_needs_checkpoints_is_an_error(invoke, recipe, tmp_path):
    done = invoke("unlearn", recipe, "-o", tmp_path / "run", "--online")
    assert (done.returncode, done.stdout) == (3, "")
    assert "method single needs the checkpoints" in done.stderr


@pytest.mark.parametrize(
    ("devices", "code", "problem"),
    [("", 3, "is no name"), ("cpu,,cpu", 3, "is no name"), ("cuda:77", 3, "no such device")],
)
def test_devices_that_cannot_be(invoke, recipe, tmp_path, devices, code, problem):
    done = invoke("finetune", recipe, "-o", tmp_path / "run", "--devices", devices)
    assert (done.returncode, done.stdout) == (code, "")
    assert problem in " ".join(done.stderr.split())


def test_evaluate_gives_what_the_run_recorded(invoke, finished, recipe, monkeypatch):
    files = [finished / "run" / "base.safetensors", finished / "run" / "merged" / "negmerge.safetensors"]
    done = invoke("evaluate", recipe, *files, "-o", finished / "run", "--json")
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    rows = {row["method"]: row for row in json.loads((finished / "run" / "results.json").read_text())["rows"]}
    for name, one in zip(("base", "negmerge"), plain["checkpoints"], strict=True):
        for part in ("validation", "test", "validation_measures", "test_measures"):
            assert one[part] == rows[name][part]
        assert one["average_gap_on_test"] == rows[name]["derived"]["average_gap_on_test"]
    assert plain["retrained"]["test"] == rows["retrain"]["test"]

    records = {path: path.stat().st_mtime_ns for path in (finished / "run" / "evaluated").iterdir()}
    monkeypatch.setattr(evaluating, "load_given", lambda *given: pytest.fail("it is recorded"))
    again = invoke("evaluate", recipe, *files, "-o", finished / "run")
    assert "base.safetensors" in again.stdout
    assert "Retrain" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in records} == records


def test_evaluate_without_a_run_has_accuracies_only(invoke, finished, recipe, tmp_path):
    torch.save(load_file(finished / "run" / "base.safetensors"), tmp_path / "base.pt")
    done = invoke("evaluate", recipe, tmp_path / "base.pt", "-o", tmp_path / "run", "--json")
    plain = json.loads(done.stdout)
    assert plain["retrained"] is None
    (one,) = plain["checkpoints"]
    assert one["test_measures"] is None
    assert one["average_gap_on_test"] is None
    rows = json.loads((finished / "run" / "results.json").read_text())["rows"]
    assert one["test"] == rows[0]["test"]


def test_evaluate_names_every_tensor_that_does_not_fit(invoke, finished, recipe, tmp_path, monkeypatch):
    tensors = load_file(finished / "run" / "base.safetensors")
    tensors["head.weight"] = tensors["head.weight"][:3].clone()
    tensors["extra"] = tensors.pop("head.bias")
    save_file(tensors, tmp_path / "other.safetensors")
    monkeypatch.setattr(evaluating, "load_given", lambda *given: pytest.fail("headers tell it"))
    done = invoke("evaluate", recipe, tmp_path / "other.safetensors", "-o", tmp_path / "run")
    assert (done.returncode, done.stdout) == (3, "")
    for said in ("'head.bias': is missing", "'extra': is no tensor", "'head.weight': has shape [3, 16]"):
        assert said in done.stderr


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_evaluate_refuses_weights_that_are_not_finite(invoke, finished, recipe, tmp_path, value):
    tensors = load_file(finished / "run" / "base.safetensors")
    tensors["head.weight"][0, :2] = value
    save_file(tensors, tmp_path / "bad.safetensors")
    for _ in range(2):  # nothing is recorded
        done = invoke("evaluate", recipe, tmp_path / "bad.safetensors", "-o", tmp_path / "run")
        assert (done.returncode, done.stdout) == (3, "")
        assert "bad.safetensors: tensor 'head.weight': has 2 of 160 elements that are NaN" in done.stderr


def test_evaluate_of_what_is_no_checkpoint(invoke, recipe, tmp_path):
    done = invoke("evaluate", recipe, tmp_path / "missing.safetensors", "-o", tmp_path / "run")
    assert (done.returncode, done.stdout) == (3, "")
    assert "missing.safetensors" in done.stderr
    assert not (tmp_path / "run").exists()


def test_report_of_a_run(invoke, finished, tmp_path):
    done = invoke("report", finished / "run")
    assert done.returncode == 0, done.stderr
    assert f"written {finished / 'run' / 'report.html'}" in done.stdout
    elsewhere = invoke("report", finished / "run", "-o", tmp_path / "out", "--json")
    files = json.loads(elsewhere.stdout)["files"]
    assert [Path(file).name for file in files] == ["report.html", "report.md", "results.json"]
    assert Path(files[0]).read_bytes() == (finished / "run" / "report.html").read_bytes()
    assert json.loads(Path(files[2]).read_text()) == json.loads(
        (finished / "run" / "results.json").read_text()
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda plain: plain["rows"][1]["test"].update(forget="high"), "rows.1.test.forget: Input should be"),
        (lambda plain: plain.update(rows=[]), "rows: the first must be that of the base"),
        (lambda plain: plain.update(recipe={}), "recipe.name: Field required"),
        (lambda plain: plain.pop("agreement"), "'agreement' is missing"),
    ],
)
def test_report_of_results_that_were_edited(invoke, finished, tmp_path, change, says):
    plain = json.loads((finished / "run" / "results.json").read_text())
    change(plain)
    (tmp_path / "results.json").write_text(json.dumps(plain))
    done = invoke("report", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    said = " ".join(done.stderr.split())
    assert f"results.json: are not results that this version wrote: {says}" in said
    assert "Run it again with negmerge unlearn" in said


@pytest.mark.parametrize("cut", ["grad-cam.safetensors", "grad-cam.json"])
def test_report_leaves_damaged_maps_out(invoke, finished, tmp_path, cut):
    shutil.copytree(finished / "run", tmp_path / "run")
    path = tmp_path / "run" / cut
    path.write_bytes(path.read_bytes()[:-20])
    done = invoke("report", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "data:image/jpeg" in (finished / "run" / "report.html").read_text()
    assert "data:image/jpeg" not in (tmp_path / "run" / "report.html").read_text()


def test_report_of_several_runs(invoke, finished, tmp_path):
    runs = [tmp_path / "seed0", tmp_path / "seed1"]
    for seed, folder in enumerate(runs):
        shutil.copytree(finished / "run", folder)
        results = json.loads((folder / "results.json").read_text())
        results["recipe"] |= {"seed": seed, "name": folder.name}
        (folder / "results.json").write_text(json.dumps(results))
    done = invoke("report", *runs)
    assert (done.returncode, done.stdout) == (2, "")
    assert "-o" in done.stderr
    done = invoke("report", *runs, "-o", tmp_path / "compared")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "compared").iterdir()} == {
        "report.html",
        "report.md",
        "report.json",
    }


def test_report_of_a_run_that_is_not_finished(invoke, tmp_path):
    done = invoke("report", tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "negmerge unlearn" in done.stderr


def test_a_dry_run_shows_the_plan_and_writes_nothing(invoke, recipe, tmp_path):
    done = invoke("unlearn", recipe, "-o", tmp_path / "run", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "forgets   class 3 of digits" in done.stdout
    assert "3 fine-tunings: 9 epochs of 91 images, 27 steps, 819 images pass" in done.stdout
    assert "already" not in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_dry_run_tells_what_is_finished(invoke, recipe, finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "run").rglob("*")}
    done = invoke("unlearn", recipe, "-o", finished / "run", "--dry-run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)
    assert [plan[name]["finished"] for name in ("base", "pool")] == [1, 3]
    assert plan["own_trainings"]["retrain"]["finished"] == 1
    assert {path: path.stat().st_mtime_ns for path in (finished / "run").rglob("*")} == before


def test_a_dry_run_without_the_data_shows_what_is_known(invoke, small_text, tmp_path, monkeypatch):
    monkeypatch.setenv("NEGMERGE_DATA", str(tmp_path))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(small_text.replace("name: digits", "name: cifar10"))
    done = invoke("unlearn", recipe, "--dry-run")
    assert done.returncode == 3
    assert "3 fine-tunings: 9 epochs; steps and images follow from the data" in done.stdout
    assert "negmerge data get cifar10" in done.stderr
    done = invoke("unlearn", recipe, "--dry-run", "--json")
    assert json.loads(done.stdout)["data"][0]["images"] is None
    assert json.loads(done.stderr)["error"]["exit_code"] == 3
