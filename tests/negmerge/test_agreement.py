from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from negmerge.agreement import Agreement, TensorAgreement, pool_agreement
from negmerge.console import Reporter
from negmerge.methods.interface import Checkpoint
from negmerge.report.agreement_table import agreement_table, kept_fractions
from negmerge.run_folder import RunFolder
from safetensors.numpy import save_file

QUIET = Reporter(quiet=True)


@pytest.fixture
def pool(tmp_path: Path) -> tuple[Checkpoint, list[Checkpoint], dict[str, np.ndarray]]:
    """A base and four models; the differences, [models, …] per tensor, some of them exact zeros."""
    random = np.random.default_rng(5)
    shapes = {"h.0.weight": (7, 5), "h.1.weight": (4, 4), "head.bias": (6,)}
    base = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    moves = {name: random.integers(-1, 3, (4, *shape)) for name, shape in shapes.items()}
    moves["head.bias"][:] = 0
    save_file(base, tmp_path / "base.safetensors")
    checkpoints = []
    for number in range(4):
        tuned = {name: (base[name] + moves[name][number]).astype(np.float32) for name in base}
        save_file(tuned, tmp_path / f"{number}.safetensors")
        checkpoints.append(Checkpoint(tmp_path / f"{number}.safetensors", f"key {number}", 1.0))
    return Checkpoint(tmp_path / "base.safetensors", "base", 1.0), checkpoints, moves


def test_counts_are_those_of_the_signs(pool, tmp_path):
    base, checkpoints, moves = pool
    found = pool_agreement(base, checkpoints, RunFolder(tmp_path / "run"), QUIET)
    assert (found.models, found.model_elements) == (4, 35 + 16 + 6)
    for tensor in found.tensors:
        camps = np.maximum((moves[tensor.name] > 0).sum(axis=0), (moves[tensor.name] < 0).sum(axis=0))
        assert tensor.agreement == tuple(np.bincount(camps.ravel(), minlength=5))
        assert tensor.kept == np.count_nonzero(camps == 4)
        assert tensor.elements == camps.size
    assert sum(found.histogram) == found.elements == 57


def test_it_is_known_when_the_pool_is_gone(pool, tmp_path):
    base, checkpoints, _ = pool
    found = pool_agreement(base, checkpoints, RunFolder(tmp_path / "run"), QUIET)
    for checkpoint in checkpoints:
        checkpoint.path.unlink()
    assert pool_agreement(base, checkpoints, RunFolder(tmp_path / "run"), QUIET) == found


def test_the_table_has_layers_a_total_and_names_its_denominators():
    found = Agreement(
        models=4,
        model_elements=200,
        tensors=(
            TensorAgreement("h.0.weight", 80, 20, (0, 0, 10, 50, 20)),
            TensorAgreement("h.0.bias", 20, 10, (0, 0, 0, 10, 10)),
            TensorAgreement("head.bias", 50, 0, (50, 0, 0, 0, 0)),
        ),
    )
    grid = agreement_table(found)
    assert grid.rows == (
        ("h.0", "100", "30.00", "80.0"),
        ("head", "50", "0.00", "0.0"),
        ("All merged layers", "150", "20.00", "53.3"),
    )
    assert kept_fractions(found) == [0.3, 0.0, 0.2]
    notes = " ".join(grid.notes)
    assert "20.00 % of the 150 merged ones, 15.00 % of all 200 of the model" in notes


def test_without_histograms_only_what_is_kept_is_known():
    found = Agreement(2, 10, (TensorAgreement("w", 10, 3, None),))
    assert found.histogram is None
    grid = agreement_table(found)
    assert grid.rows[0] == ("w", "10", "30.00", "–")
    assert "not kept" in " ".join(grid.notes)
