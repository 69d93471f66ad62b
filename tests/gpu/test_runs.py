"""Whole runs on a GPU: training, fine-tuning, search, evaluation and the maps of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("pydantic", reason="runs need the packages of unlearning")
pytest.importorskip("yaml", reason="runs need the packages of unlearning")
pytest.importorskip("rich", reason="runs need the packages of unlearning")
pytest.importorskip("sklearn", reason="runs need the packages of unlearning")
pytest.importorskip("matplotlib", reason="runs need the packages of unlearning")
pytest.importorskip("jinja2", reason="runs need the packages of unlearning")

import toy_sets
from negmerge.console import Reporter
from runs import run_text
from safetensors.torch import load_file

DEVICE = "cuda"
CLASSIFIER = """
name: classifier
data: {{name: toy-colour, split_seed: 0}}
forget: {{fraction: 0.25}}
model: {{name: resnet18, width: 4}}
device: {device}
precision: {precision}
training: {{epochs: 20, learning_rate: 0.01, batch_size: 16, crop: 1}}
pool: {{epochs: 2, learning_rate: [0.001, 0.003], batch_size: 16}}
search: {{objective: gap, points: 3, refinements: 1, limit: 2}}
methods: [retrain, single, greedy, uniform, ties, magmax, conflict, negmerge]
"""
CLIP = """
name: clip
data: {{name: toy-grey, split_seed: 0}}
retain: [{{name: toy-colour, split_seed: 0}}]
model: {{name: clip/vit, image_size: 16}}
device: {device}
training: {{epochs: 16, learning_rate: 0.002, batch_size: 32}}
pool: {{epochs: 2, learning_rate: [0.001, 0.003], batch_size: 16, linearised: {linearised}}}
search: {{points: 3, refinements: 1, limit: 2}}
methods: [single, uniform, negmerge]
"""


@pytest.fixture(autouse=True)
def toy_data(tmp_path: Path) -> Iterator[None]:
    with toy_sets.registered() as patched:
        patched.setenv("NEGMERGE_MODELS", str(tmp_path / "models"))
        yield


def check(text: str, root: Path) -> None:
    """A run learns, comes to finite models, and is taken from its folder the second time."""
    results = run_text(text, root)
    assert results.rows[0].validation.retain > 0.5, "the base has learnt"
    merged = [load_file(file) for file in root.glob("merged/*.safetensors")]
    assert merged
    assert all(tensor.isfinite().all() for state in merged for tensor in state.values())
    assert all((row.peak_device_memory or 0) > 0 for row in results.rows[1:])
    assert len({member.loss for member in results.pool}) == len(results.pool)
    reporter = Reporter(quiet=True)
    assert run_text(text, root, reporter) == results
    assert not reporter.worked


@pytest.mark.parametrize("precision", ["auto", "float32", "float16"])
def test_a_classifier_forgets_single_images(precision: str, tmp_path: Path) -> None:
    check(CLASSIFIER.format(device=DEVICE, precision=precision), tmp_path / "run")


@pytest.mark.parametrize("linearised", ["false", "true"])
def test_a_clip_forgets_a_data_set(linearised: str, tmp_path: Path) -> None:
    pytest.importorskip("open_clip")
    check(CLIP.format(device=DEVICE, linearised=linearised), tmp_path / "run")
