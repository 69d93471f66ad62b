"""Accumulators and patches of tensors on a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracle
import pytest
from on_gpu import assert_same, models, on_gpu

from negmerge_ext import Accumulator, Patch, merge
from negmerge_ext.errors import DeviceError, PatchMismatchError

DTYPES = [oracle.F32, np.dtype(np.float16), np.dtype(np.float64)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_accumulator_gives_what_a_merge_gives(dtype: np.dtype) -> None:
    base, pool = models(6, dtype)
    there = on_gpu(base)
    accumulator = Accumulator(there)
    for value in there.values():
        value.zero_()  # it has a copy of its own
    for count, state in enumerate(pool, 1):
        trained = on_gpu(state)
        accumulator.add(trained)
        for value in trained.values():
            value.zero_()
        assert_same(accumulator.finish(scale=0.3), merge(base, pool[:count], scale=0.3))
    on_cpu = Accumulator(base)
    for state in pool:
        on_cpu.add(state)
    assert accumulator.stats().merged == on_cpu.stats().merged
    out = on_gpu(base)
    assert accumulator.finish(out=out, mode="add") is out
    assert_same(out, merge(base, pool, mode="add"))


def test_an_accumulator_takes_models_of_its_own_device() -> None:
    base, pool = models(1)
    accumulator = Accumulator(on_gpu(base))
    with pytest.raises(DeviceError, match="is on cpu, the base's on cuda:0"):
        accumulator.add(pool[0])
    accumulator.add(on_gpu(pool[0]))
    with pytest.raises(DeviceError, match="out: tensor 'steps': is on cpu"):
        accumulator.finish(out=base)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_patches_are_those_of_the_cpu(dtype: np.dtype, tmp_path: Path) -> None:
    base, pool = models(4, dtype)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    accumulator = Accumulator(there)
    for state in pool_there:
        accumulator.add(state)
    patches = [Patch.make(base, pool), Patch.make(there, pool_there), accumulator.patch()]
    for number, patch in enumerate(patches):
        patch.save(tmp_path / str(number))
    contents = {(tmp_path / str(number)).read_bytes() for number in range(2)}
    assert len(contents) == 1
    assert patches[2].describe()["tensors"] == patches[0].describe()["tensors"]


def test_a_patch_is_applied_in_place_and_undone() -> None:
    base, pool = models(4)
    patch = Patch.make(base, pool)
    there = on_gpu(base)
    where = [value.data_ptr() for value in there.values()]
    for scale, mode in [(0.3, "negate"), (1.7, "add"), (0.0, "negate")]:
        patch.apply(there, scale, mode)
        assert_same(there, merge(base, pool, scale=scale, mode=mode))
    patch.apply(there, 0.5)
    patch.revert(there)
    assert_same(there, base)
    assert [value.data_ptr() for value in there.values()] == where


def test_a_changed_model_is_refused() -> None:
    base, pool = models(4)
    patch = Patch.make(base, pool)
    there = on_gpu(base)
    patch.apply(there, 0.5)
    there["embedding"] += 1
    changed = {name: value.clone() for name, value in there.items()}
    with pytest.raises(PatchMismatchError):
        patch.revert(there)
    assert_same(there, {name: value.cpu() for name, value in changed.items()})
    other = on_gpu(pool[0])
    with pytest.raises(PatchMismatchError, match="differs from the base"):
        patch.apply(other)
