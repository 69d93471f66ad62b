from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_contexts import build, context_in
from negmerge.checkpoint import save_weights
from negmerge.console import Reporter
from negmerge.methods import METHODS
from negmerge.methods.interface import Checkpoint, Context
from safetensors.torch import load_file

import negmerge_ext


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A base and three models that differ from it by noise, and by nothing in the head."""
    base, pool = tmp_path / "base.safetensors", []
    save_weights(build(), base)
    for number in range(3):
        torch.manual_seed(number + 1)
        model = build()
        with torch.no_grad():
            for parameter in model.features.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        path = tmp_path / "pool" / f"{number}.safetensors"
        save_weights(model, path)
        pool.append(Checkpoint(path, f"key {number}", seconds=10.0 + number))
    return context_in(tmp_path, Checkpoint(base, "base key", seconds=100.0), pool)


def expected(
    context: Context, method: str, members: list[int], coefficient: float
) -> dict[str, torch.Tensor]:
    """θ₀ − λτ in plain torch."""
    base = load_file(context.base.path)
    deltas = [
        {name: tensor - base[name] for name, tensor in load_file(context.pool[number].path).items()}
        for number in members
    ]
    merged = {}
    for name, tensor in base.items():
        stack = torch.stack([delta[name] for delta in deltas])
        tau = sum(stack[1:], stack[0]) / len(stack)
        agreed = (stack > 0).all(0) | (stack < 0).all(0)
        if method in ("negmerge", "conflict"):
            tau = torch.where(agreed == (method == "negmerge"), tau, torch.zeros_like(tau))
        if method == "magmax":
            tau = stack.gather(0, stack.abs().argmax(0, keepdim=True))[0]
        merged[name] = tensor - coefficient * tau
    return merged


MERGING = ("single", "uniform", "negmerge")
ALL = [0, 1, 2]
CASES = [
    ("negmerge", 0, ALL),
    ("uniform", 0, ALL),
    ("conflict", 0, ALL),
    ("magmax", 0, ALL),
    ("single", 1, [1]),
]


@pytest.mark.parametrize(("method", "place", "members"), CASES)
def test_models_and_written_files_are_the_base_minus_the_vector(context, tmp_path, method, place, members):
    candidate = METHODS.get(method).candidates(context)[place]
    with candidate.opened() as model_at:
        swept = {
            coefficient: {name: tensor.clone() for name, tensor in model_at(coefficient).state_dict().items()}
            for coefficient in (0.5, 2.0, 0.0, 0.5)
        }
    for coefficient, weights in swept.items():
        wanted = expected(context, method, members, coefficient)
        torch.testing.assert_close(weights, wanted)
        out = tmp_path / "out.safetensors"
        candidate.write(coefficient, out)
        written = load_file(out)
        assert all(torch.equal(weights[name], written[name]) for name in weights), (
            "a patch is the merge, to the bit"
        )
    assert all(torch.equal(tensor, swept[0.0][name]) for name, tensor in load_file(context.base.path).items())


def test_what_is_written_counts_the_elements_kept(context, tmp_path):
    head = sum(tensor.numel() for name, tensor in build().state_dict().items() if name.startswith("head."))
    elements = sum(tensor.numel() for tensor in build().state_dict().values())
    base = load_file(context.base.path)
    agree = 0
    for name, tensor in base.items():
        signs = sum((load_file(member.path)[name] - tensor).sign() for member in context.pool)
        agree += int((signs.abs() == 3).sum())
    negmerge, uniform = (METHODS.get(name).candidates(context)[0] for name in ("negmerge", "uniform"))
    written = negmerge.write(1.0, tmp_path / "out.safetensors")
    assert (written.kept, written.elements) == (agree, elements)
    assert 0 < agree < elements - head
    assert uniform.write(1.0, tmp_path / "out.safetensors").kept == elements


def test_patches_of_the_pool_stay_and_those_of_single_members_do_not(context, tmp_path):
    for method in ("single", "negmerge"):
        for candidate in METHODS.get(method).candidates(context):
            with candidate.opened():
                pass
    assert [path.name for path in (tmp_path / "patches").iterdir()] == ["negmerge.safetensors"]
    assert negmerge_ext.Patch.load(tmp_path / "patches" / "negmerge.safetensors").models == 3


def test_keys_tell_candidates_apart_and_change_with_their_sources(context):
    def keys(pool: list[Checkpoint]) -> list[str]:
        other = replace(context, pool=pool)
        return [one.key for name in MERGING for one in METHODS.get(name).candidates(other)]

    pool = list(context.pool)
    before = keys(pool)
    assert len(set(before)) == 5
    after = keys([*pool[:2], replace(pool[2], key="retrained")])
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False, False]


def test_the_training_that_a_candidate_needs_is_that_of_its_pool_members(context):
    seconds = {
        name: [one.prepare(Reporter(quiet=True)) for one in METHODS.get(name).candidates(context)]
        for name in MERGING
    }
    assert seconds == {"single": [10.0, 11.0, 12.0], "uniform": [33.0], "negmerge": [33.0]}
