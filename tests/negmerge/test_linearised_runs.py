"""Whole runs whose pool is fine-tuned, merged and evaluated in the base's Taylor expansion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import toy_sets
from negmerge.checkpoint import load_weights
from negmerge.clip_base import clip_base
from negmerge.errors import RecipeError
from negmerge.evaluate import Split
from negmerge.evaluating import evaluate_checkpoints
from negmerge.methods.interface import Checkpoint
from negmerge.models.linearised import Linearised
from negmerge.pipeline import Way
from negmerge.pool import member_keys
from negmerge.recipe_file import parse_recipe
from negmerge.results import Results
from negmerge.run_folder import RunFolder
from negmerge.saliency import read_saliency
from negmerge.task import Task
from run_files import checksums, without_seconds
from runs import QUIET, Killed, KilledAfter, run_text
from safetensors.torch import load_file
from tiny_clip import save_tiny_clip
from torch import nn
from torch.func import functional_call

import negmerge_ext

CLIP = """
name: tiny
data: {{name: toy-grey}}
retain: [toy-colour, toy-large]
model: {{name: "open_clip/local-dir:{folder}"}}
pool:
  epochs: 2
  learning_rate: [0.001, 0.003, 0.01]
  batch_size: 16
  freeze: attention
  linearised: true
search: {{points: 4, refinements: 1, limit: 2}}
methods: [single, uniform, negmerge]
"""


@pytest.fixture(autouse=True, scope="module")
def toy_data() -> Iterator[None]:
    with toy_sets.registered():
        yield


@pytest.fixture(scope="module")
def clip_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return CLIP.format(folder=save_tiny_clip(tmp_path_factory.mktemp("tiny") / "clip"))


@pytest.fixture(scope="module")
def small_linearised(small_text: str) -> str:
    return small_text.replace("batch_size: 32", "batch_size: 32\n  linearised: true")


@pytest.fixture(scope="module")
def clip_run(tmp_path_factory: pytest.TempPathFactory, clip_text: str) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("clip")
    return root, run_text(clip_text, root)


@pytest.fixture(scope="module")
def classifier_run(tmp_path_factory: pytest.TempPathFactory, small_linearised: str) -> tuple[Path, Results]:
    root = tmp_path_factory.mktemp("classifier")
    return root, run_text(small_linearised, root)


@torch.no_grad()
def expanded(model: nn.Module, base: Path, weights: Path, images: torch.Tensor) -> torch.Tensor:
    """What the expansion around ``base`` says, its derivative by central differences in float64."""
    origin, there = load_file(base), load_file(weights)
    load_weights(model, base).double()
    step = 1e-6

    def at(share: float) -> torch.Tensor:
        moved = {
            name: origin[name].double() + share * (there[name].double() - origin[name].double())
            for name, _ in model.named_parameters()
        }
        answers: torch.Tensor = functional_call(model, moved, images.double() / 255)
        return answers

    return at(0.0) + (at(step) - at(-step)) / (2 * step)


def accuracies(text: str, root: Path, weights: Path, split: Split) -> list[float]:
    """Of the forget set and every retain set."""
    task = Task.prepare(parse_recipe(text, "recipe"))
    heads = load_file(root / "heads.safetensors") if (root / "heads.safetensors").exists() else {}
    found = []
    for examples in (task.parts[split].forget, *task.parts[split].retain):
        ((images, labels),) = examples.batches(len(examples))
        said = expanded(task.build_model(), root / "base.safetensors", weights, images)
        if examples.label in heads:
            said = said @ heads[examples.label].double().T
        found.append((said.argmax(dim=1) == labels).double().mean().item())
    return found


def test_members_of_the_pool_are_evaluated_in_the_expansion(clip_run, clip_text):
    root, results = clip_run
    for member in results.pool:
        wanted = [member.validation.forget, *member.validation.by_set.values()]
        found = accuracies(clip_text, root, root / member.file, "validation")
        assert found == pytest.approx(wanted), member.file


def test_merged_models_are_searched_and_evaluated_in_the_expansion(
    classifier_run, small_linearised, tmp_path
):
    root, results = classifier_run
    row = results.rows[-1]
    assert row.coefficient > 0
    merged = root / "merged" / "negmerge.safetensors"
    assert accuracies(small_linearised, root, merged, "test") == pytest.approx(
        [row.test.forget, row.test.retain]
    )
    pool = [root / member.file for member in results.pool]
    for point in row.curve[1::3]:
        out = tmp_path / f"{point.coefficient}.safetensors"
        negmerge_ext.merge(root / "base.safetensors", pool, out=out, scale=point.coefficient)
        found = accuracies(small_linearised, root, out, "validation")
        assert found == pytest.approx([point.forget, point.retain]), point
    task = Task.prepare(parse_recipe(small_linearised, "recipe"))
    ((images, _),) = task.parts["test"].forget.batches(100)
    with torch.no_grad():
        plain = load_weights(task.build_model(), out)(images.float() / 255)
    said = expanded(task.build_model(), root / "base.safetensors", out, images)
    assert not torch.allclose(plain.double(), said, rtol=0.01, atol=0.01), "or nothing would tell the two"


def test_frozen_parameters_have_task_vectors_of_zero(clip_run):
    root, results = clip_run
    base = load_file(root / "base.safetensors")
    attention = [name for name in base if ".attn." in name]
    assert len(attention) == 2 * 4
    for member in results.pool:
        tuned = load_file(root / member.file)
        assert tuned.keys() == base.keys()
        for name, tensor in base.items():
            assert torch.equal(tensor, tuned[name]) == (name in attention), name


def test_killed_runs_go_on_to_the_same_results(clip_run, clip_text, tmp_path):
    root, results = clip_run
    kills = 0
    for steps in (1, 3, 6):
        try:
            run_text(clip_text, tmp_path, KilledAfter(steps))
        except Killed:
            kills += 1
    assert kills >= 2
    resumed = run_text(clip_text, tmp_path)
    assert checksums(tmp_path) == checksums(root)
    assert without_seconds(resumed.to_dict()) == without_seconds(results.to_dict())


def test_a_pool_merged_online_gives_the_same(clip_run, clip_text, tmp_path):
    _, results = clip_run
    text = clip_text.replace("[single, uniform, negmerge]", "[uniform, negmerge]")
    online = run_text(text, tmp_path, way=Way(online=True))
    for one, other in zip(online.rows[1:], results.rows[2:], strict=True):
        assert (one.test, one.curve) == (other.test, other.curve)


def test_grad_cam_says_why_it_shows_nothing(classifier_run):
    root, _ = classifier_run
    missing = "the logits of a linearised model do not follow from a feature map"
    assert read_saliency(RunFolder(root)).missing == missing
    assert f"No Grad-CAM of these models: {missing}." in (root / "report.html").read_text()


def test_evaluate_takes_checkpoints_as_the_run_does(classifier_run, small_linearised):
    root, results = classifier_run
    names = ("retrain", "single", "uniform", "negmerge")
    files = [root / "base.safetensors", *(root / "merged" / f"{name}.safetensors" for name in names)]
    recipe = parse_recipe(small_linearised, "recipe")
    found = evaluate_checkpoints(recipe, small_linearised, root, files, QUIET)
    for one, row in zip(found.checkpoints, results.rows, strict=True):
        assert (one.validation, one.test) == (row.validation, row.test), row.method
    assert found.retrained.test == results.rows[1].test


def test_a_recipe_with_and_one_without_share_the_base_and_nothing_that_follows(
    classifier_run, small_linearised, small_text, tmp_path
):
    root, results = classifier_run
    tasks = [Task.prepare(parse_recipe(text, "recipe")) for text in (small_linearised, small_text)]
    assert tasks[0].base_key == tasks[1].base_key
    base = Checkpoint(root / "base.safetensors", tasks[0].base_key, 0.0)
    linearised, plain = (set(member_keys(task, base)) for task in tasks)
    assert len(linearised) == len(plain) == 3
    assert not linearised & plain
    first = run_text(small_text, tmp_path)
    records = [tmp_path / "base.json", tmp_path / "trained" / "retrain.json"]
    written = [record.stat().st_mtime_ns for record in records]
    second = run_text(small_linearised, tmp_path, overwrite=True)
    assert [record.stat().st_mtime_ns for record in records] == written, "these are no expansions"
    assert checksums(tmp_path) == checksums(root)
    assert without_seconds(second.rows[2:]) == without_seconds(results.rows[2:])
    assert second.rows[3].curve != first.rows[3].curve


class _Rounded(torch.autograd.Function):
    """Has a gradient, and no derivative in forward mode."""

    @staticmethod
    def forward(context, values):
        return values.round()

    @staticmethod
    def backward(context, gradients):
        return gradients


class _Quantised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rounded: torch.Tensor = _Rounded.apply(self.head(images.mean(dim=(2, 3))))
        return rounded


def test_what_cannot_be_linearised_is_refused_before_anything_is_written(
    small_linearised, tmp_path, monkeypatch
):
    monkeypatch.setattr("negmerge.models.small_cnn.build", lambda spec, shape: _Quantised())
    with pytest.raises(RecipeError, match=r"pool\.linearised: small_cnn has no derivative in forward mode"):
        run_text(small_linearised, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_base_is_the_expansion_at_its_origin(clip_text, tmp_path):
    task, folder = Task.prepare(parse_recipe(clip_text, "recipe")), RunFolder(tmp_path)
    with folder.locked():
        base, _ = clip_base(task, folder, QUIET)
    tower = load_weights(task.build_model(), base.path)
    found = load_weights(task.build_tuned(base.path), base.path)
    assert isinstance(found, Linearised)
    images = torch.rand(4, 3, 16, 16)
    torch.testing.assert_close(found(images), tower(images), rtol=1e-5, atol=1e-5)
