"""Merging state dicts: values, layouts, dtypes, result types."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from state_dicts import LAYOUTS, TORCH_LAYOUTS, as_numpy, as_torch, copied_bytes, laid_out
from strategies import batches
from values import agreeing

from negmerge_ext import merge
from negmerge_ext.engine import memory
from negmerge_ext.errors import MemoryBudgetError

F32 = np.dtype(np.float32)


def value(draw: st.DrawFn, array: np.ndarray) -> np.ndarray | torch.Tensor:
    """``array`` in torch or numpy, in some layout."""
    if draw(st.booleans()):
        return laid_out(array, draw(st.sampled_from(LAYOUTS)))
    return as_torch(laid_out(array, draw(st.sampled_from(TORCH_LAYOUTS))))


def random_pool(shape: tuple[int, ...], models: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    base, finetuned = agreeing(np.random.default_rng(seed), shape, F32, (F32,) * models)
    return base, list(finetuned)


@settings(max_examples=50)
@given(st.data(), batches(tensors=4, largest=1000))
def test_any_mix_of_dtypes_layouts_and_libraries(data: st.DataObject, batch: list) -> None:
    case = batch[0]
    out_dtype = data.draw(st.sampled_from([None, *oracle.DTYPES]))
    base = {f"t{i}": value(data.draw, case.base) for i, case in enumerate(batch)}
    pool = [
        {f"t{i}": value(data.draw, case.finetuned[k]) for i, case in enumerate(batch)}
        for k in range(len(case.finetuned))
    ]
    before = copied_bytes(base, *pool)
    merged = merge(
        base, pool, method=case.alone, mode=case.mode, scale=case.scale, out_dtype=out_dtype, threads=2
    )
    assert list(merged) == list(base)
    for name, one in zip(base, batch, strict=True):
        expected = oracle.merge(
            one.base,
            one.finetuned,
            method=case.method,
            mode=case.mode,
            scale=case.scale,
            out_dtype=out_dtype,
        )
        assert oracle.same_bits(as_numpy(merged[name]), expected), one.about
        assert isinstance(merged[name], torch.Tensor) == isinstance(base[name], torch.Tensor)
    assert copied_bytes(base, *pool) == before


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_result_has_the_layout_of_empty_like(layout: str) -> None:
    array, finetuned = random_pool((4, 3, 5, 2), 2)
    base = as_torch(laid_out(array, layout))
    merged = merge({"w": base, "n": laid_out(array, layout)}, [{"w": f, "n": f} for f in finetuned])
    assert merged["w"].stride() == torch.empty_like(base).stride()
    assert merged["n"].strides == np.empty_like(laid_out(array, layout)).strides


def test_expanded_and_broadcast_inputs() -> None:
    base, [one, two] = random_pool((6,), 2)
    wide = (4, 6)
    merged = merge(
        {"w": torch.from_numpy(base).expand(wide)},
        [{"w": np.broadcast_to(one, wide)}, {"w": torch.from_numpy(two).expand(wide)}],
    )
    expected = oracle.merge(*(np.broadcast_to(base, wide),), [np.broadcast_to(x, wide) for x in (one, two)])
    assert oracle.same_bits(merged["w"].numpy(), expected)


@pytest.mark.parametrize("shape", [(70, 90), (3, 5, 700), (9, 1, 33, 31)])
def test_unlike_layouts_are_merged_in_pieces(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_SMALLEST_PIECE", 64)
    array, finetuned = random_pool(shape, 3)
    expected = oracle.merge(array, finetuned)
    pool = [{"w": laid_out(x, layout)} for x, layout in zip(finetuned, LAYOUTS[1:4], strict=True)]
    for layout in LAYOUTS:
        out = {"w": laid_out(np.zeros_like(array), "gapped")}
        merge({"w": laid_out(array, layout)}, pool, out=out, max_memory=64 * 5 * array.itemsize)
        assert oracle.same_bits(out["w"], expected)


def test_packing_stays_within_the_budget() -> None:
    array, finetuned = random_pool((300, 700), 8)
    base, pool = {"w": array}, [{"w": laid_out(x, "transposed")} for x in finetuned]
    out = {"w": np.zeros_like(array)}
    merge(base, pool[:1], out=out)  # so that nothing is loaded any more during the measurement
    tracemalloc.start()
    merge(base, pool, out=out, max_memory="512KiB")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert array.nbytes > 1 << 19 > peak - (64 << 10)
    assert oracle.same_bits(out["w"], oracle.merge(array, finetuned))


def test_a_budget_below_what_packing_needs_is_refused() -> None:
    array, finetuned = random_pool((300, 700), 2)
    pool = [{"w": laid_out(x, "transposed")} for x in finetuned]
    out = {"w": np.zeros_like(array), "n": np.zeros(2, np.int64)}
    base = {"w": array, "n": np.ones(2, np.int64)}
    with pytest.raises(MemoryBudgetError, match=r"'w'.* 1 bytes.* need 32768"):
        merge(base, pool, out=out, max_memory=1)
    assert not out["n"].any()
    merge(base, pool, out=out, max_memory=32768)
    assert oracle.same_bits(out["w"], oracle.merge(array, finetuned))
    merge(base, [{"w": x} for x in finetuned], out=out, max_memory=1)  # nothing is packed


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
def test_threads_do_not_change_a_bit(threads: int) -> None:
    base, finetuned = random_pool((211, 307), 5)
    merged = merge({"w": base}, [{"w": x} for x in finetuned], scale=0.7, threads=threads)
    assert oracle.same_bits(merged["w"], oracle.merge(base, finetuned, scale=0.7))


def test_foreign_byte_order_and_read_only_inputs() -> None:
    base, finetuned = random_pool((17,), 2)
    foreign = base.astype(">f4")
    foreign.flags.writeable = False
    finetuned[0].flags.writeable = False
    merged = merge({"w": foreign}, [{"w": finetuned[0]}, {"w": finetuned[1].astype(">f4")}])
    assert oracle.same_bits(merged["w"], oracle.merge(base, finetuned))


def test_negated_views_count_with_their_values() -> None:
    values = torch.randn(9, dtype=torch.complex64)
    lazily = values.conj().imag
    assert lazily.is_neg()
    finetuned = {"w": values.real.clone()}
    merged = merge({"w": lazily}, [finetuned])
    expected = oracle.merge(lazily.resolve_neg().numpy(), [finetuned["w"].numpy()])
    assert oracle.same_bits(merged["w"].numpy(), expected)


def test_integers_and_excluded_tensors_come_from_the_base() -> None:
    base = {
        "w": torch.ones(3),
        "steps": torch.tensor(7),
        "mask": np.array([True, False]),
        "bn.running_mean": torch.zeros(2),
        "head": torch.ones(2, 2, dtype=torch.complex64).conj(),
        "names": np.array([b"abc", b"d"]),
    }
    finetuned = {"w": torch.full((3,), 2.0), "steps": torch.tensor(9), "bn.running_mean": torch.ones(2)}
    merged = merge(base, [finetuned], exclude=["head", "names", "*.running_mean"])
    assert merged["w"].tolist() == [0, 0, 0]
    assert (merged["steps"], merged["bn.running_mean"].tolist()) == (7, [0, 0])
    assert torch.equal(merged["head"], base["head"])
    assert merged["mask"].tolist() == [True, False]
    assert merged["names"].tolist() == [b"abc", b"d"]
    assert not np.shares_memory(merged["mask"], base["mask"])
    assert merged["steps"].data_ptr() != base["steps"].data_ptr()
    everything = merge({"bn.running_mean": torch.zeros(2)}, [{"bn.running_mean": torch.ones(2)}], include="*")
    assert everything["bn.running_mean"].tolist() == [-1, -1]


def test_result_of_a_module_loads_into_it() -> None:
    def network() -> torch.nn.Module:
        layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)]
        return torch.nn.Sequential(*layers).to(memory_format=torch.channels_last)

    base, pool = network(), [network() for _ in range(3)]
    before = copied_bytes(base.state_dict(), *(model.state_dict() for model in pool))
    merged = merge(base, pool, scale=0.25)
    assert isinstance(merged, OrderedDict)
    assert merged._metadata == base.state_dict()._metadata  # type: ignore[attr-defined]
    assert copied_bytes(base.state_dict(), *(model.state_dict() for model in pool)) == before
    for name, tensor in base.state_dict().items():
        assert type(merged[name]) is torch.Tensor
        assert not merged[name].requires_grad
        assert merged[name].stride() == tensor.stride()
        finetuned = [model.state_dict()[name].numpy() for model in pool]
        if tensor.is_floating_point() and "running" not in name:
            assert oracle.same_bits(merged[name].numpy(), oracle.merge(tensor.numpy(), finetuned, scale=0.25))
        else:
            assert torch.equal(merged[name], tensor)
    base.load_state_dict(merged)


@pytest.mark.parametrize("mapping", [dict, OrderedDict, lambda items: MappingProxyType(dict(items))])
def test_mapping_types_and_order(mapping: type) -> None:
    items = [("b", np.float32([1, 2])), ("a", np.float32([[3]])), ("c", np.zeros((0, 2), np.float32))]
    base = mapping(items)
    merged = merge(base, [dict(reversed(items))])
    assert type(merged) is (OrderedDict if isinstance(base, OrderedDict) else dict)
    assert list(merged) == ["b", "a", "c"]
    assert merged["c"].shape == (0, 2)


def test_subclasses_with_ordinary_memory_become_plain_tensors() -> None:
    class Named(torch.Tensor):
        pass

    base = torch.ones(3).as_subclass(Named)
    merged = merge({"w": base}, [{"w": torch.nn.Buffer(torch.full((3,), 2.0))}])
    assert type(merged["w"]) is torch.Tensor
    assert merged["w"].tolist() == [0, 0, 0]


def test_thousands_of_models() -> None:
    base, finetuned = random_pool((3, 2), 4096)
    merged = merge({"w": base}, [{"w": x} for x in finetuned], method="uniform")
    assert oracle.same_bits(merged["w"], oracle.merge(base, finetuned, method="uniform"))
