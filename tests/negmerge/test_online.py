"""Pools that are merged as they are fine-tuned, against pools that are kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from negmerge.console import Reporter, Stage
from negmerge.errors import RecipeError
from negmerge.pipeline import Way, finetune
from negmerge.recipe_file import parse_recipe
from negmerge.results import Results
from negmerge.run_plan import plan_run
from run_files import without_seconds
from runs import run_text
from safetensors.torch import load_file

ONLINE = Way(online=True)
METHODS = "uniform, ties, {name: ties, density: 0.5, per: tensor}, negmerge"


@pytest.fixture(scope="module")
def text(small_text: str) -> str:
    return small_text.replace("retrain, single, uniform, negmerge", METHODS).replace(
        "epochs: 3", "epochs: 12"
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, text: str) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("kept")
    return root, run_text(text, root)


def assert_same(root: Path, results: Results, kept: tuple[Path, Results]) -> None:
    """Scores, curves and choices, and every bit of the unlearned models."""
    other_root, other = kept
    assert without_seconds(results.rows) == without_seconds(other.rows)
    assert without_seconds(results.pool) == without_seconds(other.pool)
    for name in ("merged/uniform", "merged/ties", "merged/ties-density-0.5-per-tensor", "merged/negmerge"):
        ours, theirs = (load_file(place / f"{name}.safetensors") for place in (root, other_root))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert results.agreement is not None
    assert other.agreement is not None
    assert [(one.name, one.elements, one.kept) for one in results.agreement.tensors] == [
        (one.name, one.elements, one.kept) for one in other.agreement.tensors
    ]


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu")])
def test_equals_a_run_that_keeps_its_pool(text, kept, tmp_path, devices):
    results = run_text(text, tmp_path, way=Way(devices, online=True))
    assert_same(tmp_path, results, kept)
    assert not results.pool_kept
    assert results.agreement.histogram is None
    assert list(tmp_path.glob("pool/*")) == []
    assert [path.name for path in tmp_path.glob("online/*")] == ["state.json"]


def test_a_finished_run_repeats_nothing(text, kept, tmp_path):
    results = run_text(text, tmp_path, way=ONLINE)
    reporter = Reporter(quiet=True)
    again = run_text(text, tmp_path, reporter, way=ONLINE)
    assert again == results
    assert not reporter.worked


def test_some_of_the_methods_in_another_order_repeat_nothing(text, kept, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    fewer = text.replace(METHODS, "negmerge, ties")
    state = tmp_path / "online" / "state.json"
    before = state.read_text()
    rows = run_text(fewer, tmp_path, overwrite=True, way=ONLINE).rows
    assert [row.method for row in rows] == ["base", "negmerge", "ties"]
    assert without_seconds(rows) == without_seconds([kept[1].rows[place] for place in (0, 4, 2)])
    run_text(text, tmp_path, overwrite=True, way=ONLINE)
    assert state.read_text() == before


def test_a_method_that_did_not_merge_a_dropped_pool_is_refused(text, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    more = text.replace(METHODS, f"{METHODS}, {{name: ties, density: 0.3}}")
    with pytest.raises(RecipeError, match=r"3 of 3 .* by uniform, ties, .* and not by ties-density-0.3, and"):
        run_text(more, tmp_path, overwrite=True, way=ONLINE)
    assert (tmp_path / "recipe.yaml").read_text() == text, "the folder is still that of this recipe"
    with pytest.raises(RecipeError, match="3 of 3"):
        run_text(text.replace(METHODS, "magmax"), tmp_path, overwrite=True, way=ONLINE)


def test_a_plan_knows_what_was_merged_online(text, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    recipe = parse_recipe(text, "recipe")
    plan = plan_run(recipe, tmp_path, way=ONLINE)
    assert (plan.pool.finished, plan.problems) == (3, ())
    (problem,) = plan_run(recipe, tmp_path).problems
    assert "3 of 3 fine-tunings were merged online" in str(problem)


def test_files_are_called_as_those_of_a_run_that_keeps_its_pool(text, kept, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    names = [sorted(path.name for path in root.glob("patches/*")) for root in (tmp_path, kept[0])]
    assert names[0] == names[1]


@pytest.mark.parametrize("after", [1, 2])
def test_a_killed_run_goes_on_to_the_same_bits(text, kept, tmp_path, after):
    root, recipe = tmp_path / "run", tmp_path / "recipe.yaml"
    recipe.write_text(text)
    command = [sys.executable, "-m", "negmerge", "finetune", str(recipe), "-o", str(root), "--online"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 90
        while not list(root.glob(f"online/negmerge-{after:03d}.safetensors")):
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
    assert not (root / "patches").exists(), "killed before the end"
    assert_same(root, run_text(text, root, way=ONLINE), kept)


def test_a_pool_merged_online_is_not_silently_fine_tuned_again(text, kept, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    with pytest.raises(RecipeError, match=r"3 of 3 fine-tunings were merged online.*--online"):
        run_text(text, tmp_path)
    with pytest.raises(RecipeError, match=r"3 of 3"):
        run_text(text.replace("uniform, ties", "single, uniform, ties"), tmp_path, overwrite=True)
    shutil.rmtree(tmp_path / "online")
    run_text(text, tmp_path, overwrite=True)
    assert len(list(tmp_path.glob("pool/*.safetensors"))) == 3


def test_what_a_pool_has_already_is_merged_and_dropped(text, kept, tmp_path):
    root = tmp_path / "run"
    first = run_text(text, root)
    again = run_text(text, root, way=ONLINE)
    assert_same(root, again, kept)
    assert without_seconds(first.pool) == without_seconds(again.pool)
    assert again.agreement.histogram == first.agreement.histogram, "it was recorded before"
    assert list(root.glob("pool/*")) == []


def test_a_larger_pool_begins_anew(text, kept, tmp_path):
    small = text.replace("[0.001, 0.003, 0.01]", "[0.001, 0.003]")
    run_text(small, tmp_path, way=ONLINE)
    results = run_text(text, tmp_path, overwrite=True, way=ONLINE)
    assert_same(tmp_path, results, kept)


def test_patches_of_another_pool_are_not_taken_for_its_own(text, kept, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    run_text(text.replace("[0.001, 0.003, 0.01]", "[0.002, 0.004]"), tmp_path, overwrite=True)
    results = run_text(text, tmp_path, overwrite=True, way=ONLINE)
    assert_same(tmp_path, results, kept)


def test_a_damaged_patch_is_made_again(text, kept, tmp_path):
    run_text(text, tmp_path, way=ONLINE)
    patch = tmp_path / "patches" / "negmerge.safetensors"
    patch.write_bytes(patch.read_bytes()[:-1])
    assert_same(tmp_path, run_text(text, tmp_path, way=ONLINE), kept)


def test_methods_that_need_checkpoints_are_refused_before_anything_is_done(small_text, tmp_path):
    with pytest.raises(RecipeError, match=r"method single needs the checkpoints .* without --online"):
        run_text(small_text, tmp_path / "run", way=ONLINE)
    assert not (tmp_path / "run").exists()


class Counting(Reporter):
    """Knows the most members that ever waited in the pool of a run."""

    def __init__(self, root: Path) -> None:
        super().__init__(quiet=True)
        self._root = root
        self.most = 0

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator[Stage]:
        with super().stage(title, total) as stage:
            advance = stage.advance

            def counted() -> None:
                self.most = max(self.most, len(list(self._root.glob("pool/*.json"))))
                advance()

            stage.advance = counted
            yield stage


def test_few_members_wait_for_a_slow_one(text, tmp_path):
    text = text.replace("  epochs: 12", "  epochs: [150, 1, 2, 3, 4, 5, 6, 7, 8]").replace(
        "[0.001, 0.003, 0.01]", "0.001"
    )
    reporter = Counting(tmp_path)
    recipe = parse_recipe(text, "recipe")
    _, members = finetune(recipe, text, tmp_path, reporter, way=Way(("cpu", "cpu"), online=True))
    assert [member.hyperparameters["epochs"] for member in members] == [150, 1, 2, 3, 4, 5, 6, 7, 8]
    assert 1 <= reporter.most <= 2 * 2 - 1
