"""Merges on a GPU have the bits of those on the CPU, and of the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from on_gpu import assert_same, models, on_gpu, strided_copy
from state_dicts import TORCH_LAYOUTS, as_numpy, as_torch, laid_out
from strategies import Case, batches

from negmerge_ext import inspect, merge

DTYPES = {str(dtype): dtype for dtype in oracle.DTYPES}


@settings(max_examples=300)
@given(batch=batches(), layouts=st.lists(st.sampled_from(TORCH_LAYOUTS), min_size=1, max_size=4))
def test_any_values_dtypes_and_layouts(batch: list[Case], layouts: list[str]) -> None:
    first = batch[0]
    alike = [case for case in batch if case.out_dtype == first.out_dtype]

    def state(arrays: list[np.ndarray], shift: int) -> dict[str, torch.Tensor]:
        stored = (laid_out(array, layouts[(i + shift) % len(layouts)]) for i, array in enumerate(arrays))
        return {str(i): strided_copy(as_torch(array)) for i, array in enumerate(stored)}

    base = state([case.base for case in alike], 0)
    pool = [state([case.finetuned[k] for case in alike], k // 3) for k in range(len(first.finetuned))]
    options: dict[str, Any] = {"method": first.alone, "mode": first.mode, "scale": first.scale}
    merged = merge(base, pool, out_dtype=str(first.out_dtype), **options)
    for i, case in enumerate(alike):
        assert oracle.same_bits(as_numpy(merged[str(i)].cpu()), case.expected()), case.about


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 8, 9, 30, 65])
def test_whole_models(dtype: str, count: int) -> None:
    base, pool = models(count, DTYPES[dtype])
    expected = merge(base, pool, scale=0.3)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    merged = merge(there, pool_there, scale=0.3)
    assert_same(merged, expected)
    assert {name: value.stride() for name, value in merged.items()} == {
        name: value.stride() for name, value in expected.items()
    }
    assert merge(there, pool_there, scale=0.3, out=there) is there
    assert_same(there, expected)


@pytest.mark.slow
def test_thousands_of_models() -> None:
    base, pool = models(4096)
    assert_same(merge(on_gpu(base), [on_gpu(state) for state in pool]), merge(base, pool))


@pytest.mark.parametrize("offset", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn", "float64"])
def test_views_that_begin_anywhere(dtype: str, offset: int) -> None:
    """Elements that do not begin at multiples of 16 bytes, and not all at the same distance from one."""
    base, pool = models(3, DTYPES[dtype])
    names = ["norm", "embedding"]

    def shifted(value: torch.Tensor, by: int) -> torch.Tensor:
        room = torch.empty(value.numel() + by, dtype=value.dtype, device="cuda")
        view = room[by:].view(value.shape)
        view.copy_(value)
        return view

    there = {name: shifted(base[name], offset) for name in names}
    pool_there = [{n: shifted(state[n], offset * (k + 2) % 9) for n in names} for k, state in enumerate(pool)]
    out = {name: shifted(base[name], 9 - offset) for name in names}
    chosen = [{name: state[name] for name in names} for state in (base, *pool)]
    expected = merge(chosen[0], chosen[1:])
    assert_same(merge(there, pool_there, out=out), expected)
    assert_same(merge(there, pool_there, out=there), expected)


def test_what_lies_beside_a_view_stays_as_it_was() -> None:
    room = torch.full((1000,), 7.0, device="cuda")
    base, tuned = room[3:900], torch.full((897,), 9.0, device="cuda")
    merge({"w": base}, [{"w": tuned}], out={"w": base})
    assert room[:3].tolist() == [7] * 3
    assert room[900:].tolist() == [7] * 100
    assert bool((base == 5).all())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_more_than_two_to_the_31_elements(dtype: torch.dtype) -> None:
    numel = 2**31 + 12_345
    needed = 3 * numel * dtype.itemsize + (2 << 30)
    if torch.cuda.mem_get_info()[0] < needed:
        pytest.skip(f"needs {needed >> 30} GiB of GPU memory")
    base = torch.ones(numel, dtype=dtype, device="cuda")
    tuned = base + 1
    tuned[-1], tuned[2**31] = 0.5, 1.0
    merge({"w": base}, [{"w": tuned}, {"w": tuned}], out={"w": base})
    assert base[-1].item() == 1.5
    assert base[2**31].item() == 1.0
    base[-1], base[2**31] = 0, 0
    assert not base.any().item()


def test_statistics_and_agreement() -> None:
    base, pool = models(5)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    assert inspect(there, pool_there).merged == inspect(base, pool).merged
