"""What make reproduce-cifar10 does, made small: data in parts, the recipe, the table beside the paper's."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from negmerge.cli import app
from negmerge.data import cifar
from negmerge.data.packed import Packed
from negmerge.data.parts import write_parts
from negmerge.recipe_file import embedded_recipe, parse_recipe
from negmerge.report import published_table

NAME = "paper/cifar10-resnet18-random"
#: From the recipe to one of seconds: the model's width, epochs, pool, images of a step, points.
SMALLER = {
    "threads: 8": "threads: 1\ndevice: cpu",
    "model: {name: resnet18}": "model: {name: resnet18, width: 8}",
    "epochs: 182": "epochs: 3",
    "milestones: [91, 136]": "milestones: [2]",
    "epochs: [40, 50, 60]": "epochs: 2",
    "label_smoothing: [0.0, 0.05, 0.1]": "label_smoothing: 0.1",
    "batch_size: 256": "batch_size: 32",
    "points: 21": "points: 3",
}


def smaller(text: str) -> str:
    for whole, part in SMALLER.items():
        assert whole in text
        text = text.replace(whole, part)
    return text


@pytest.fixture
def toy_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data folder with parts of a CIFAR-10 of 250 images of 8×8 pixels, in ten colours."""
    random = np.random.default_rng(0)
    labels = np.tile(np.arange(10), 25)
    colours = random.integers(0, 200, (10, 3, 1, 1))
    images = (colours[labels] + random.integers(0, 56, (250, 3, 8, 8))).astype(np.uint8)
    packed = Packed(images, labels, 200, tuple("abcdefghij"))
    paths = write_parts(packed, tmp_path / "data" / "cifar10", (1 << 16) + 70 * (images[0].nbytes + 8))
    assert len(paths) == 4
    monkeypatch.setenv("NEGMERGE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(cifar, "CIFAR10", dataclasses.replace(cifar.CIFAR10, sha256=None))


def as_if_as_wide(published_of: Callable) -> Callable:
    return lambda recipe: published_of({**recipe, "model": {**recipe["model"], "width": None}})


def test_from_parts_to_the_table_beside_the_papers(toy_cifar10, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(published_table, "published_of", as_if_as_wide(published_table.published_of))
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(smaller(embedded_recipe(NAME)[1]))
    with pytest.raises(SystemExit) as stopped:
        app.app(args=["unlearn", str(recipe), "--out", str(run)], prog_name="negmerge")
    printed = capfd.readouterr()
    assert stopped.value.code in (0, None), printed.err
    assert "Beside the paper's table 2, in %" in printed.out
    for said in ("94.76", "12.88", "1.62", "1.75", "1.07"):
        assert said in printed.out
    results = json.loads((run / "results.json").read_text())
    assert results["images"]["train"] == {"forget": 18, "retain": 162}
    methods = [row["method"] for row in results["rows"]]
    assert methods == ["base", *(one.called for one in parse_recipe(recipe.read_text(), "recipe").methods)]
    assert all(row["derived"]["average_gap_on_test"] is not None for row in results["rows"])
    for page in ("report.md", "report.html"):
        text = (run / page).read_text()
        assert "Beside the paper" in text.replace("&#39;", "'")
        assert "94.76" in text


def test_the_recipe_runs_by_its_name_and_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "negmerge", "unlearn", NAME, "--out", str(tmp_path / "run")],
        env={"PATH": "/nowhere", "PYTHONPATH": ":".join(sys.path), "NEGMERGE_DATA": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "negmerge data get cifar10" in done.stderr
