"""Where tensors lie: several devices, wrong ones, and what a device has no room for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from on_gpu import assert_same, models, on_gpu
from safetensors.torch import load_file, save_file

import negmerge_ext
from negmerge_ext import merge
from negmerge_ext.errors import DeviceError, DeviceMemoryError
from negmerge_ext.in_memory.scan import by_attributes, scan
from negmerge_ext.in_memory.state_dict import StateDictSource

several = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


def test_info_names_the_devices() -> None:
    found = negmerge_ext.info()["cuda"]
    assert found["reason"] is None
    assert len(found["devices"]) == torch.cuda.device_count()
    assert found["devices"][0]["name"] == torch.cuda.get_device_name(0)


def test_scans_tell_where_tensors_lie() -> None:
    base, _ = models(1)
    there = on_gpu(base)
    mixed = {**there, "norm": base["norm"]}
    for state in (there, mixed):
        expected = [-1 if value.is_cpu else 0 for value in state.values()]
        source = StateDictSource(state, "base")
        assert source.ordinary
        assert source.rows(source.tensors.names).device.tolist() == expected
        for found in (scan(state, (*state.values(),)), by_attributes((*state,), (*state.values(),))):
            assert found is not None
            assert found.device is not None
            assert found.device.tolist() == expected
            assert found.start.tolist() == [value.data_ptr() for value in state.values()]


def test_the_current_device_is_left_alone() -> None:
    base, pool = models(2)
    last = torch.cuda.device_count() - 1
    device = torch.device("cuda", last)
    before = torch.cuda.current_device()
    merged = merge(on_gpu(base, device), [on_gpu(state, device) for state in pool])
    assert torch.cuda.current_device() == before
    assert {value.device for value in merged.values()} == {device}
    assert_same(merged, merge(base, pool))


@several
def test_tensors_on_several_devices() -> None:
    base, pool = models(4)
    expected = merge(base, pool)
    names = list(base)

    def spread(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: on_gpu({name: state[name]}, f"cuda:{place % 2}")[name] for place, name in enumerate(names)
        }

    there, pool_there = spread(base), [spread(state) for state in pool]
    merged = merge(there, pool_there)
    assert_same(merged, expected)
    assert [value.device.index for value in merged.values()] == [place % 2 for place in range(len(names))]
    merge(there, pool_there, out=there)
    assert_same(there, expected)
    with pytest.raises(DeviceError, match="is on cuda:1, the base's on cuda:0"):
        merge(on_gpu(base, "cuda:0"), [on_gpu(pool[0], "cuda:1")])
    with pytest.raises(DeviceError, match="is on cuda:1, not on cuda:0"):
        merge(on_gpu(base, "cuda:1"), [on_gpu(pool[0], "cuda:1")], device="cuda:0")


@several
def test_plain_cuda_is_the_current_device() -> None:
    base, pool = models(1)
    with torch.cuda.device(1):
        merge(on_gpu(base, "cuda:1"), [on_gpu(pool[0], "cuda:1")], device="cuda")
        with pytest.raises(DeviceError, match="is on cuda:0, not on cuda:1"):
            merge(on_gpu(base, "cuda:0"), [on_gpu(pool[0], "cuda:0")], device="cuda")


def test_some_tensors_on_the_cpu() -> None:
    base, pool = models(3)
    expected = merge(base, pool)
    there, *pool_there = ({**on_gpu(state), "norm": state["norm"].clone()} for state in (base, *pool))
    merged = merge(there, pool_there)
    assert torch.equal(merged.pop("norm"), expected.pop("norm"))
    assert_same(merged, expected)


def test_wrong_devices() -> None:
    base, pool = models(2)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    with pytest.raises(DeviceError, match=r"finetuned\[1\]: tensor 'norm': is on cpu, the base's on cuda:0"):
        merge(there, [pool_there[0], pool[1]])
    with pytest.raises(DeviceError, match=r"finetuned.0.: tensor 'norm': is on cuda:0, the base's on cpu"):
        merge(base, [pool_there[0], pool[1]])
    with pytest.raises(DeviceError, match="out: tensor 'steps': is on cpu"):
        merge(there, pool_there, out=base)
    with pytest.raises(DeviceError, match="not on cpu"):
        merge(there, pool_there, device="cpu")
    with pytest.raises(DeviceError, match="'cuda:99' was asked for"):
        merge(there, pool_there, device="cuda:99")


def test_out_of_memory() -> None:
    base = {"w": torch.ones(1 << 20, device="cuda")}
    free, _ = torch.cuda.mem_get_info()
    huge = {"w": base["w"][:1].expand((free // 4) * 2)}
    with pytest.raises(DeviceMemoryError, match=r"out of memory.*cpu"):
        merge(huge, [huge])  # elements that are one in memory: packed copies are needed
    assert bool((merge(base, [base])["w"] == 1).all())  # nothing is broken


def test_files_of_tensors_on_a_gpu(tmp_path: Path) -> None:
    base, pool = models(3)
    for place, (one, others) in enumerate([(base, pool), (on_gpu(base), [on_gpu(state) for state in pool])]):
        report = merge(one, others, out=tmp_path / f"{place}.safetensors", verify=True)
        assert report.elements == sum(v.numel() for v in base.values() if v.is_floating_point())
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()
    save_file({name: value.contiguous() for name, value in base.items()}, tmp_path / "base.safetensors")
    with pytest.raises(DeviceError, match="is on cuda:0, the base's on cpu"):
        merge(tmp_path / "base.safetensors", [on_gpu(pool[0])])
    assert list(load_file(tmp_path / "0.safetensors"))
