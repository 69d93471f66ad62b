from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_contexts import build, context_in, training_examples
from negmerge.checkpoint import save_weights
from negmerge.console import Reporter
from negmerge.data.examples import Examples
from negmerge.keys import derived_seed
from negmerge.methods import METHODS
from negmerge.methods.interface import Checkpoint, Context
from negmerge.train import train
from safetensors.torch import load_file

QUIET = Reporter(quiet=True)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    base = tmp_path / "base.safetensors"
    save_weights(build(), base)
    return context_in(tmp_path, Checkpoint(base, "base key", seconds=100.0))


def test_is_the_training_of_the_base_on_the_retain_set_alone(context, tmp_path):
    (candidate,) = METHODS.get("retrain").candidates(context)
    assert candidate.prepare(QUIET) > 0
    expected = build()
    train(expected, training_examples("retain"), context.training, seed=derived_seed("retrain", 5))
    weights = expected.state_dict()
    with candidate.opened() as model_at:
        found = model_at(1.0).state_dict()
    assert all(torch.equal(found[name], weights[name]) for name in weights)

    written = candidate.write(1.0, tmp_path / "merged" / "retrain.safetensors")
    assert (written.kept, written.elements) == (None, sum(one.numel() for one in weights.values()))
    again = candidate.load(tmp_path / "merged" / "retrain.safetensors")
    assert not again.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in again.state_dict().items())


def test_does_not_look_at_the_forget_set(context):
    def only_retain(part: str) -> tuple[Examples, ...]:
        assert part == "retain"
        return training_examples(part)

    (candidate,) = METHODS.get("retrain").candidates(replace(context, training_examples=only_retain))
    candidate.prepare(QUIET)


def test_is_trained_once_and_its_seconds_are_remembered(context):
    reporter = Reporter(quiet=True)
    first, again = (METHODS.get("retrain").candidates(context)[0] for _ in range(2))
    seconds = first.prepare(QUIET)
    before = context.folder.trained("retrain").file.stat().st_mtime_ns
    assert again.prepare(reporter) == seconds
    assert not reporter.worked
    assert context.folder.trained("retrain").file.stat().st_mtime_ns == before


def test_is_trained_again_when_what_it_depends_on_changes(context):
    (first,) = METHODS.get("retrain").candidates(context)
    first.prepare(QUIET)
    before = load_file(context.folder.trained("retrain").file)
    changed = replace(context, training_key="another", seed=6)
    (other,) = METHODS.get("retrain").candidates(changed)
    assert other.key != first.key
    other.prepare(QUIET)
    after = load_file(context.folder.trained("retrain").file)
    assert any(not torch.equal(before[name], after[name]) for name in before)
