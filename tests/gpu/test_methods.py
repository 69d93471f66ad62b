"""Every method has the bits and the statistics of the CPU on a GPU, however models are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from on_gpu import assert_same, models, on_gpu

from negmerge_ext import Accumulator, inspect, merge

METHODS = ["negmerge", "uniform", "conflict", "magmax", "ties", "ties:density=0.5,per=tensor"]
DTYPES = [oracle.F32, oracle.F64, oracle.BF16, oracle.E4M3]

State = dict[str, torch.Tensor]
Case = tuple[str, State, list[State]]


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> np.dtype[Any]:
    found: np.dtype[Any] = request.param
    return found


@pytest.fixture(params=METHODS)
def case(request: pytest.FixtureRequest, dtype: np.dtype[Any]) -> Case:
    return (str(request.param), *models(7, dtype))


def test_results(case: Case) -> None:
    method, base, pool = case
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    for mode in ("negate", "add", "vector"):
        options: dict[str, Any] = {"method": method, "scale": 0.3, "mode": mode}
        assert_same(merge(there, pool_there, **options), merge(base, pool, **options))
    merge(there, pool_there, method=method, out=there)
    assert_same(there, merge(base, pool, method=method))


def test_statistics(case: Case) -> None:
    method, base, pool = case
    found = inspect(on_gpu(base), [on_gpu(state) for state in pool], method=method)
    assert found.device == "cuda:0"
    assert found.merged == inspect(base, pool, method=method).merged


def test_accumulated(case: Case) -> None:
    method, base, pool = case
    found, expected = Accumulator(on_gpu(base), method), Accumulator(base, method)
    for state in pool:
        found.add(on_gpu(state))
        expected.add(state)
    assert_same(found.finish(scale=0.3), expected.finish(scale=0.3))
    assert found.stats().merged == expected.stats().merged


def test_files(case: Case, tmp_path: Path) -> None:
    method, base, pool = case
    merge(base, [base], out=tmp_path / "base.safetensors")
    for device in ("cpu", "cuda"):
        out = tmp_path / f"{device}.safetensors"
        merge(tmp_path / "base.safetensors", pool, out=out, device=device, method=method)
    assert (tmp_path / "cuda.safetensors").read_bytes() == (tmp_path / "cpu.safetensors").read_bytes()


@pytest.mark.parametrize("count", [1023, 1024])
def test_agreement_of_more_models_than_shared_memory_has_bins_for(count: int) -> None:
    base, pool = models(count)
    found = inspect(on_gpu(base), [on_gpu(state) for state in pool])
    assert found.merged == inspect(base, pool).merged
