"""Reports, files, accumulators and patches of tensors on CUDA devices, with the kernels run on the host."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pools import make_pool
from stand_in_devices import StandInDevices
from state_dicts import as_torch

from negmerge_ext import Accumulator, Patch, inspect, merge
from negmerge_ext.errors import DeviceError, MemoryBudgetError, PatchMismatchError

State = dict[str, torch.Tensor]

#: Names of the tensors on a device; the others are on the CPU.
WHERE = ["embedding norm scale empty steps head turned", "embedding", "norm scale steps turned"]


@pytest.fixture(params=WHERE)
def names(request: pytest.FixtureRequest) -> list[str]:
    return str(request.param).split()


def models() -> tuple[State, list[State]]:
    pool = make_pool(3)
    states = [{n: as_torch(v.copy()) for n, v in state.items()} for state in (pool.base, *pool.finetuned)]
    for state in states:
        state["turned"] = state["embedding"][:50, :40].clone().t()
    states[1]["turned"] = states[1]["turned"].contiguous()
    return states[0], states[1:]


def placed(devices: StandInDevices, state: State, names: list[str]) -> State:
    """A copy of a state dict with the named tensors on device 1."""
    return {n: devices.put(v.clone(), 1) if n in names else v.clone() for n, v in state.items()}


def assert_same(found: State, expected: State) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_reports(devices: StandInDevices, names: list[str]) -> None:
    base, pool = models()
    there, pool_there = placed(devices, base, names), [placed(devices, state, names) for state in pool]
    assert inspect(there, pool_there).merged == inspect(base, pool).merged
    assert set(devices.launches) == {1}


def test_files(devices: StandInDevices, names: list[str], tmp_path: Path) -> None:
    base, pool = models()
    there, pool_there = placed(devices, base, names), [placed(devices, state, names) for state in pool]
    merge(base, pool, out=tmp_path / "expected.safetensors", out_dtype="bfloat16")
    out = tmp_path / "found.safetensors"
    merge(there, pool_there, out=out, out_dtype="bfloat16", max_memory="12MiB", verify=True)
    assert out.read_bytes() == (tmp_path / "expected.safetensors").read_bytes()
    with pytest.raises(MemoryBudgetError):
        merge(there, pool_there, out=tmp_path / "small.safetensors", max_memory="8MiB")


def test_files_are_merged_on_the_cpu(devices: StandInDevices, tmp_path: Path) -> None:
    base, pool = models()
    path = tmp_path / "base.safetensors"
    merge(base, pool, out=path)
    there = placed(devices, base, WHERE[0].split())
    with pytest.raises(DeviceError, match="is on cuda:1, the base's on cpu"):
        merge(path, [there])
    with pytest.raises(DeviceError, match="is on cpu, the base's on cuda:1"):
        merge(there, [path])
    with pytest.raises(DeviceError, match=r"out: .*is on cuda:1, the base's on cpu"):
        merge(path, [path], out=there)


def test_accumulators(devices: StandInDevices, names: list[str], tmp_path: Path) -> None:
    base, pool = models()
    there = placed(devices, base, names)
    found, expected = Accumulator(there), Accumulator(base)
    there_too = [placed(devices, state, names) for state in pool]
    for state, state_there in zip(pool, there_too, strict=True):
        found.add(state_there)
        expected.add(state)
    merged = found.finish(scale=0.3)
    assert devices.waits == 0
    assert_same(merged, expected.finish(scale=0.3))
    assert found.finish(scale=0.3, out=there) is there
    assert_same(there, expected.finish(scale=0.3))
    assert found.stats().merged == expected.stats().merged
    found.patch().save(tmp_path / "found")
    expected.patch().save(tmp_path / "expected")
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    with pytest.raises(DeviceError, match="is on cpu, the base's on cuda:1"):
        found.add(pool[0])
    with pytest.raises(DeviceError, match=r"out: .*is on cpu, the base's on cuda:1"):
        found.finish(out=base)


def test_calls_of_an_accumulator_on_several_streams(devices: StandInDevices, names: list[str]) -> None:
    base, pool = models()
    taken: dict[int, set[int]] = {}
    take = devices.empty

    def empty(nbytes: int, device: int) -> torch.Tensor:
        room = take(nbytes, device)
        taken.setdefault(devices.stream_number, set()).add(room.data_ptr())
        return room

    devices.empty = empty  # type: ignore[method-assign]
    accumulator = Accumulator(placed(devices, base, names))
    for number, state in enumerate(pool, 1):
        devices.stream_number = number
        accumulator.add(placed(devices, state, names))
        accumulator.stats()
    first, second, third = devices.followed  # once for each change
    assert (first[:2], second[:2], third[:2]) == ((1001, 2001), (2001, 3001), (3001, 4001))
    assert len(first[2]) >= len(names)  # the base; there were no sums yet
    assert first[2] < second[2] == third[2]
    # The sums, not what one call took for itself alone.
    assert second[2] & taken[1]
    assert not second[2] & (taken[2] | taken[3])
    devices.stream_number = 0
    assert_same(accumulator.finish(), merge(base, pool))
    assert devices.followed[3][:2] == (4001, 1001)


def test_calls_of_a_patch_on_several_streams(devices: StandInDevices, names: list[str]) -> None:
    base, pool = models()
    patch, there = Patch.make(base, pool), placed(devices, base, names)
    for number, scale in enumerate([0.3, 1.7]):
        devices.stream_number = number
        patch.apply(there, scale)
    devices.stream_number = 5
    patch.revert(there)
    assert_same(there, base)
    first, second = devices.followed
    assert (first[:2], second[:2]) == ((1001, 2001), (2001, 6001))
    assert first[2] == second[2]
    assert len(first[2]) > 3 * sum(base[name].is_floating_point() for name in names if name != "empty")


def test_ties_of_a_result_are_checked_on_the_device(devices: StandInDevices) -> None:
    weight = devices.put(torch.ones(40))
    accumulator = Accumulator({"a": weight, "b": weight[:]})
    same = {name: devices.put(torch.full((40,), 2.0)) for name in "ab"}
    accumulator.add(same)
    merged = accumulator.finish()
    assert merged["a"] is merged["b"]
    assert merged["a"].tolist() == [0] * 40


def test_patches(devices: StandInDevices, names: list[str], tmp_path: Path) -> None:
    base, pool = models()
    expected = Patch.make(base, pool)
    there, pool_there = placed(devices, base, names), [placed(devices, state, names) for state in pool]
    found = Patch.make(there, pool_there)
    expected.save(tmp_path / "expected")
    found.save(tmp_path / "found")
    assert (tmp_path / "found").read_bytes() == (tmp_path / "expected").read_bytes()
    for scale, mode in ((0.3, "negate"), (1.7, "add")):
        found.apply(there, scale, mode)
        assert_same(there, merge(base, pool, scale=scale, mode=mode))
    found.revert(there)
    assert_same(there, base)
    found.apply(there, 0.5)
    there["embedding"] += 1
    changed = {name: value.clone() for name, value in there.items()}
    with pytest.raises(PatchMismatchError):
        found.revert(there)
    assert_same(there, changed)
    with pytest.raises(PatchMismatchError, match="differs from the base"):
        found.apply(pool_there[0])
