"""``negmerge compare`` on the folders of finished runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from negmerge.console import Reporter
from negmerge.pipeline import run
from negmerge.recipe_file import parse_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_text: str) -> list[str]:
    """Two seeds of one recipe."""
    root = tmp_path_factory.mktemp("runs")
    text = small_text.replace("single, ", "")
    for seed in range(2):
        seeded = f"{text}seed: {seed}\n"
        run(parse_recipe(seeded, "recipe"), seeded, root / f"seed{seed}", Reporter(quiet=True))
    return [str(root / f"seed{seed}") for seed in range(2)]


def test_two_seeds_make_means_with_deviations_and_a_plot(invoke, runs, tmp_path: Path):
    done = invoke("compare", *runs, "--plot", tmp_path / "compared.png")
    assert done.returncode == 0, done.stderr
    assert "NegMerge" in done.stdout
    assert "±" in done.stdout
    assert "over 2 runs" in done.stdout
    assert (tmp_path / "compared.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_every_method(invoke, runs):
    plain = json.loads(invoke("compare", *runs, "--json").stdout)
    assert plain["runs"] == runs
    assert [method["method"] for method in plain["methods"]] == ["retrain", "uniform", "negmerge"]
    assert all(method["gap"]["runs"] == 2 for method in plain["methods"])


def test_one_run_twice_is_refused(invoke, runs):
    done = invoke("compare", runs[0], runs[0])
    assert done.returncode == 3
    assert "two runs have seed 0" in done.stderr


def test_a_folder_without_results_is_named(invoke, tmp_path: Path):
    done = invoke("compare", tmp_path)
    assert done.returncode == 3
    assert "results.json: holds no results" in done.stderr
    (tmp_path / "results.json").write_text('{"rows": 1}')
    assert "not results that this version wrote" in invoke("compare", tmp_path).stderr
