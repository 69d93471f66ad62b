"""Merges of state dicts on CUDA devices, with the kernels run on the host: the bits of a merge on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in_devices import StandInDevices
from state_dicts import TORCH_LAYOUTS, as_numpy, as_torch, laid_out
from strategies import Case, batches

from negmerge_ext import Accumulator, merge, native_cuda
from negmerge_ext.errors import DeviceError, DeviceMemoryError

State = dict[str, torch.Tensor]


def assert_same(found: Any, expected: State) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert oracle.same_bits(as_numpy(found[name].clone()), as_numpy(value)), name
        assert found[name].stride() == value.stride()


def models(count: int) -> list[State]:
    """State dicts with tensors of several kinds; the first is the base."""
    made = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        state = {
            "head": torch.randn(40_001, generator=generator),
            "turned": torch.randn(30, 20, generator=generator).t().bfloat16(),
            "empty": torch.empty(0, 2),
            "steps": torch.tensor(seed),
            "images": torch.randn(2, 3, 4, 5, generator=generator).to(memory_format=torch.channels_last),
        }
        made.append(state)
    return made


def on_device(
    devices: StandInDevices, states: list[State], device: int = 0, names: str | None = None
) -> list[State]:
    """Copies of state dicts whose tensors, or those named, lie on a device."""
    return [
        {
            name: devices.put(value.clone(), device)
            if names is None or name in names.split()
            else value.clone()
            for name, value in state.items()
        }
        for state in states
    ]


@settings(max_examples=60)
@given(batch=batches(), layouts=st.lists(st.sampled_from(TORCH_LAYOUTS), min_size=1, max_size=4))
def test_values(devices: StandInDevices, batch: list[Case], layouts: list[str]) -> None:
    first = batch[0]
    alike = [case for case in batch if case.out_dtype == first.out_dtype]

    def state(arrays: list[Any], shift: int) -> State:
        return {
            str(place): devices.put(as_torch(laid_out(array, layouts[(place + shift) % len(layouts)])))
            for place, array in enumerate(arrays)
        }

    base = state([case.base for case in alike], 0)
    pool = [state([case.finetuned[k] for case in alike], k // 3) for k in range(len(first.finetuned))]
    out_dtype = str(first.out_dtype)
    merged = merge(base, pool, method=first.alone, mode=first.mode, scale=first.scale, out_dtype=out_dtype)
    for place, case in enumerate(alike):
        assert oracle.same_bits(as_numpy(merged[str(place)].clone()), case.expected()), case.about


@pytest.mark.parametrize("device", [0, 3])
def test_a_result_is_like_the_base_and_on_its_device(devices: StandInDevices, device: int) -> None:
    base, *pool = models(3)
    expected = merge(base, pool, scale=0.3)
    there, *pool_there = on_device(devices, [base, *pool], device)
    merged = merge(OrderedDict(there), pool_there, scale=0.3)
    assert type(merged) is OrderedDict
    assert_same(merged, expected)
    assert {devices.device_of(value) for value in merged.values()} == {device}
    assert set(devices.launches) == {device}


def test_nothing_is_waited_for(devices: StandInDevices) -> None:
    base, *pool = on_device(devices, models(3))
    merge(base, pool)
    merge(base, pool, out=base)
    assert devices.launches
    assert devices.waits == 0


def test_trimming_of_everything_waits_for_nothing(devices: StandInDevices) -> None:
    base, *pool = models(3)
    there, *pool_there = on_device(devices, [base, *pool])
    merged = merge(there, pool_there, method="ties:density=1")
    assert devices.waits == 0
    assert_same(merged, merge(base, pool, method="ties:density=1"))


def test_tensors_of_one_order_take_one_launch(devices: StandInDevices) -> None:
    base, *pool = on_device(
        devices, [{name: value for name, value in m.items() if name != "steps"} for m in models(4)]
    )
    merge(base, pool)
    assert devices.launches == [0]


def test_in_place(devices: StandInDevices) -> None:
    base, *pool = models(3)
    expected = merge(base, pool)
    there, *pool_there = on_device(devices, [base, *pool])
    where = {name: value.data_ptr() for name, value in there.items()}
    versions = {name: value._version for name, value in there.items()}
    assert merge(there, pool_there, out=there) is there
    assert_same(there, expected)
    assert {name: value.data_ptr() for name, value in there.items()} == where
    assert all(there[name]._version > version for name, version in versions.items())


def test_models_stored_in_other_orders(devices: StandInDevices) -> None:
    base, *pool = models(3)
    pool[1] = {name: value.contiguous() for name, value in pool[1].items()}
    expected = merge(base, pool)
    there, *pool_there = on_device(devices, [base, *pool])
    pool_there[1]["images"] = devices.put(pool[1]["images"].contiguous())
    pool_there[1]["turned"] = devices.put(pool[1]["turned"].contiguous())
    gapped = devices.put(torch.zeros(30, 40, dtype=torch.bfloat16))[:, ::2].t()
    out = {**on_device(devices, [base])[0], "turned": gapped}
    assert_same(merge(there, pool_there), expected)
    merge(there, pool_there, out=out)
    assert torch.equal(out["turned"], expected["turned"])


@pytest.mark.parametrize("names", ["head", "turned steps", "images empty head"])
def test_each_tensor_where_it_lies(devices: StandInDevices, names: str) -> None:
    base, *pool = models(4)
    expected = merge(base, pool, mode="add")
    there, *pool_there = on_device(devices, [base, *pool], 1, names)
    first, *rest = names.split()
    for state in (there, *pool_there):
        devices.put(state[first], 0)
    merged = merge(there, pool_there, mode="add")
    assert_same(merged, expected)
    assert set(devices.launches) == ({0, 1} if rest else {0})
    for name, value in merged.items():
        assert devices.device_of(value) == devices.device_of(there[name])


def test_parameters_of_modules(devices: StandInDevices) -> None:
    base, tuned = (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3)) for _ in range(2))
    expected = merge(base, [tuned])
    for module in (base, tuned):
        for value in module.state_dict().values():
            devices.put(value)
    merged = merge(base, [tuned])
    assert_same(merged, expected)
    assert merge(base, [tuned], out=base) is base
    assert_same(dict(base.state_dict()), expected)


def test_tied_tensors_are_merged_once(devices: StandInDevices) -> None:
    weight, tuned = devices.put(torch.ones(5)), devices.put(torch.full((5,), 2.0))
    merged = merge({"a": weight, "b": weight[:]}, [{"a": tuned, "b": tuned[:]}])
    assert merged["a"] is merged["b"]
    assert merged["a"].tolist() == [0] * 5
    assert devices.waits == 0
    apart = {"a": tuned, "b": devices.put(tuned.clone())}
    assert merge({"a": weight, "b": weight[:]}, [apart])["b"].tolist() == [0] * 5


def test_tensors_on_different_devices_are_refused(devices: StandInDevices) -> None:
    base, tuned = models(2)
    [there] = on_device(devices, [base])
    [elsewhere] = on_device(devices, [tuned], 1)
    with pytest.raises(
        DeviceError, match=r"is on cuda:1, the base's on cuda:0 \(and so for 3 more\)"
    ) as caught:
        merge(there, [there, elsewhere])
    assert (caught.value.path, caught.value.tensor) == ("finetuned[1]", "head")
    with pytest.raises(DeviceError, match=r"is on cpu, the base's on cuda:0.*one device"):
        merge(there, [tuned])
    with pytest.raises(DeviceError, match="is on cuda:0, the base's on cpu"):
        merge(base, [there])
    with pytest.raises(DeviceError, match="out: tensor 'head': is on cpu, the base's on cuda:0"):
        merge(there, [there], out=base)
    assert not devices.launches


def test_the_device_that_is_asked_for(devices: StandInDevices) -> None:
    base, tuned = models(2)
    there, tuned_there = on_device(devices, [base, tuned])
    expected = merge(base, [tuned])
    for device in (None, "auto", "cuda", "cuda:0", torch.device("cuda", 0)):
        assert_same(merge(there, [tuned_there], device=device), expected)
    with pytest.raises(DeviceError, match=r"base: tensor 'head': is on cuda:0, not on cpu.*--device"):
        merge(there, [tuned_there], device="cpu")
    with pytest.raises(DeviceError, match="is on cpu, not on cuda:0"):
        merge(base, [tuned], device="cuda")
    with pytest.raises(DeviceError, match="'cuda:1' was asked for, and there are 1 CUDA devices"):
        merge(there, [tuned_there], device="cuda:1")


class Failing:
    """A CUDA module whose launches fail."""

    class CudaError(RuntimeError):
        pass

    def __init__(self, module: Any, code: int) -> None:
        self.workspace_bytes = module.workspace_bytes
        self.code = code

    def merge(self, *arguments: Any) -> None:
        raise self.CudaError("what CUDA says", self.code)


@pytest.mark.parametrize(("code", "kind"), [(2, DeviceMemoryError), (719, DeviceError)])
def test_failures_of_the_device(
    devices: StandInDevices, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    failing = Failing(native_cuda.module(), code)
    monkeypatch.setattr(native_cuda, "module", lambda: failing)
    base, *pool = on_device(devices, models(2))
    with pytest.raises(kind, match=r"cuda:0.*what CUDA says"):
        merge(base, pool)


def test_memory_that_torch_has_not_got(devices: StandInDevices, monkeypatch: pytest.MonkeyPatch) -> None:
    base, *pool = on_device(devices, models(2))

    def refuse(*arguments: Any, **options: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB.\nmore")

    monkeypatch.setattr(torch, "empty_like", refuse)
    with pytest.raises(DeviceMemoryError, match=r"Tried to allocate 2.00 MiB.*out="):
        merge(base, pool)


class Lacking:
    """Room on a device until so much of it was asked for."""

    def __init__(self, devices: StandInDevices, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        self._empty = devices.empty
        monkeypatch.setattr(devices, "empty", self.empty)

    def empty(self, nbytes: int, device: int) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise DeviceMemoryError("no memory is left")
        return self._empty(nbytes, device)


def test_nothing_is_written_where_memory_is_lacking(
    devices: StandInDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = models(3)
    states[1]["turned"] = states[1]["turned"].contiguous()
    before = as_bytes(states[0])
    base, *pool = on_device(devices, states)
    lacking = Lacking(devices, monkeypatch)
    for rooms in range(2):  # the table of addresses, and packed copies
        lacking.left = rooms
        with pytest.raises(DeviceMemoryError):
            merge(base, pool, out=base)
        assert as_bytes(base) == before
    lacking.left = 1000
    merge(base, pool, out=base)
    assert as_bytes(base) != before


def test_an_accumulator_outlives_a_lack_of_memory(
    devices: StandInDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = models(3)
    base, *pool = on_device(devices, states)
    accumulator = Accumulator(base)
    accumulator.add(pool[0])
    lacking = Lacking(devices, monkeypatch)
    with pytest.raises(DeviceMemoryError):
        accumulator.add(pool[1])
    lacking.left = 1000
    accumulator.add(pool[1])
    assert as_bytes(accumulator.finish()) == as_bytes(merge(states[0], states[1:]))


def as_bytes(state: Any) -> list[bytes]:
    return [as_numpy(value.clone().contiguous()).tobytes() for value in state.values()]
