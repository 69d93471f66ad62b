"""State dicts as sources: what is read from them, and what is refused."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from state_dicts import LAYOUTS, laid_out

from negmerge_ext import Accumulator, merge
from negmerge_ext.errors import (
    DeviceError,
    InputError,
    NegmergeError,
    PreflightError,
    ShapeMismatchError,
    UnsupportedTensorError,
)
from negmerge_ext.in_memory.state_dict import StateDictSource
from negmerge_ext.source import TensorInfo


def test_metadata_and_addresses() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2, 3, dtype=torch.bfloat16))
    array = np.zeros((4,), np.float64)
    source = StateDictSource({"a": parameter, "b": array, "c": torch.tensor(True)}, "base")
    assert source.tensors == {
        "a": TensorInfo("BF16", (2, 3)),
        "b": TensorInfo("F64", (4,)),
        "c": TensorInfo("BOOL", ()),
    }
    rows = source.rows(["b", "a"])
    assert rows.start.tolist() == [array.ctypes.data, parameter.data_ptr()]
    assert rows.row_major.tolist() == [True, True]
    assert rows.address is rows.start


@pytest.mark.parametrize("layout", LAYOUTS)
def test_row_major_addresses_of_any_layout(layout: str) -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    stored = laid_out(array, layout)
    rows = StateDictSource({"other": array, "w": stored}, "base").rows(["other", "w"])
    assert ctypes.string_at(int(rows.address[1]), array.nbytes) == array.tobytes()
    assert (rows.address[1] == rows.start[1]) == stored.flags.c_contiguous
    assert rows.address[0] == array.ctypes.data


def test_modules_give_their_own_memory() -> None:
    module = torch.nn.Linear(3, 2)
    source = StateDictSource(module, "base")
    assert source.rows(["weight"]).start.tolist() == [module.weight.data_ptr()]
    assert source.values[0] is module.weight


def sparse() -> torch.Tensor:
    return torch.eye(3).to_sparse()


def compressed() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.eye(3).to_sparse_csr()


def nested(layout: torch.layout) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)


def quantised() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)


def wrapped() -> torch.Tensor:
    from torch.testing._internal.two_tensor import TwoTensor

    return TwoTensor(torch.ones(3), torch.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.ones(3, device="meta"), "meta tensor"),
        (sparse, "layout torch.sparse_coo"),
        (compressed, "layout torch.sparse_csr"),
        (lambda: torch.eye(3).to_mkldnn(), "layout torch._mkldnn"),
        (lambda: nested(torch.strided), "nested tensor"),
        (lambda: nested(torch.jagged), "NestedTensor, a tensor subclass"),
        (quantised, "quantised tensor"),
        (wrapped, "TwoTensor, a tensor subclass"),
        (lambda: torch.nn.UninitializedParameter(), "not initialised yet"),
        (lambda: np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]), "masked array"),
        (lambda: np.array([1.0, None, 3.0]), "array of Python objects"),
        (lambda: [1.0, 2.0, 3.0], "is a list"),
        (lambda: {"nested": torch.ones(3)}, "is a dict"),
        (lambda: np.float32(1), "is a float32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_without_plain_memory(make: Callable[[], Any], message: str) -> None:
    good = {"w": torch.ones(3)}
    for base, pool, label in [({"w": make()}, [good], "base"), (good, [good, {"w": make()}], "finetuned[1]")]:
        with pytest.raises(UnsupportedTensorError, match=message) as caught:
            merge(base, pool)
        assert caught.value.tensor == "w"
        assert caught.value.path == label
        assert caught.value.remedy


def test_tensors_inside_a_function_transform() -> None:
    def merged(x: torch.Tensor) -> torch.Tensor:
        return merge({"w": x}, [{"w": x}])["w"]

    with pytest.raises(UnsupportedTensorError, match="no memory of its own"):
        torch.func.vmap(merged)(torch.ones(2, 3))


def test_other_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from negmerge_ext.in_memory import plain_tensor

    elsewhere = SimpleNamespace(
        is_meta=False,
        is_nested=False,
        is_quantized=False,
        layout=torch.strided,
        is_cpu=False,
        is_cuda=False,
        device=torch.device("xpu", 1),
    )
    monkeypatch.setattr(plain_tensor, "is_torch", lambda value: value is elsewhere)
    monkeypatch.setattr(plain_tensor, "_without_subclass", lambda value: value)
    state = {"a": np.ones(3, np.float32), "b": elsewhere, "c": elsewhere}
    good = dict.fromkeys("abc", np.ones(3, np.float32))
    with pytest.raises(DeviceError, match=r"is on xpu:1, .*1 more.*\.cpu\(\)") as caught:
        merge(good, [good, good, state])
    assert (caught.value.path, caught.value.tensor) == ("finetuned[2]", "b")


def test_problems_of_all_checkpoints_are_raised_together() -> None:
    good = {"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(2)}
    meta = {name: torch.ones(2, device="meta") for name in good}
    with pytest.raises(PreflightError) as caught:
        merge(good, [meta, {**good, "b": "text"}, {"a": torch.ones(3), "b": torch.ones(2)}])
    text = str(caught.value)
    assert "finetuned[0]: tensor 'a': is a meta tensor" in text
    assert "2 more" in text
    assert "finetuned[1]: tensor 'b': is a str" in text
    assert "finetuned[2]: tensor 'a': has shape [3]" in text
    assert "finetuned[2]: tensor 'c'" in text
    assert len(caught.value.problems) == 4


def test_one_bad_value_hides_no_other_problem_of_its_model() -> None:
    base = {"w": torch.ones(2, 3), "b": torch.ones(3)}
    with pytest.raises(PreflightError) as caught:
        merge(base, [{"w": torch.ones(3, 2), "b": 3}])
    found = {(type(problem), problem.tensor) for problem in caught.value.problems}
    assert found == {(ShapeMismatchError, "w"), (UnsupportedTensorError, "b")}


def test_bad_values_are_found_when_the_base_cannot_be_opened() -> None:
    with pytest.raises(PreflightError, match=r"finetuned\[0\]: tensor 'b': is a int"):
        merge("absent.pt", [{"b": 3}])


@pytest.mark.parametrize("choice", [{"exclude": "epoch"}, {"include": "w"}])
def test_what_is_no_tensor_is_carried_over_if_it_is_left_out(choice: dict[str, str], tmp_path: Path) -> None:
    epoch = object()
    base = {"epoch": epoch, "w": torch.ones(2)}
    pool = [{"w": torch.full((2,), 2.0), "epoch": 9}, {"w": torch.full((2,), 2.0)}]
    merged = merge(base, pool, **choice)
    assert list(merged) == ["epoch", "w"]
    assert merged["epoch"] is epoch
    assert merged["w"].tolist() == [0, 0]

    accumulator = Accumulator(base, **choice)
    accumulator.add(pool[0])
    assert accumulator.finish()["epoch"] is epoch

    merge(base, pool, out=tmp_path / "out.safetensors", **choice)
    assert set(load_file(tmp_path / "out.safetensors")) == {"w"}

    for write in (lambda: merge(base, pool, out=base, **choice), lambda: accumulator.finish(out=base)):
        base["w"].fill_(1)
        assert write() is base
        assert base["epoch"] is epoch
        assert base["w"].tolist() == [0, 0]


def test_a_module_with_extra_state() -> None:
    class Versioned(torch.nn.Linear):
        def get_extra_state(self) -> dict[str, int]:
            return {"version": 3}

        def set_extra_state(self, state: dict[str, int]) -> None:
            self.loaded = state

    model = Versioned(2, 2)
    with pytest.raises(UnsupportedTensorError, match=r"'_extra_state': is a dict.*Exclude it"):
        merge(model, [model])
    model.load_state_dict(merge(model, [model], exclude="*_extra_state"))
    assert model.loaded == {"version": 3}


def test_a_tensor_of_the_base_that_cannot_be_read_cannot_be_copied_either() -> None:
    base, finetuned = {"w": torch.ones(2), "m": torch.ones(2, device="meta")}, {"w": torch.ones(2), "m": 3}
    with pytest.raises(UnsupportedTensorError, match="'m': is a meta tensor"):
        merge(base, [finetuned], exclude="m")


def test_an_output_has_tensors_where_the_base_has_them() -> None:
    base = {"w": torch.ones(2), "head": torch.ones(2)}
    with pytest.raises(UnsupportedTensorError, match="out: tensor 'head': is a int"):
        merge(base, [base], exclude="head", out={"w": torch.ones(2), "head": 3})


@pytest.mark.parametrize("state", [None, 3, [torch.ones(2)], torch.ones(2), object()])
def test_things_that_are_no_state_dict(state: Any) -> None:
    for call in (lambda: merge(state, [{}]), lambda: merge({"w": torch.ones(2)}, [state])):
        with pytest.raises(InputError, match="not a state dict, a module or a path"):
            call()


def test_keys_must_be_names() -> None:
    with pytest.raises(NegmergeError, match="the key 3"):
        merge({3: torch.ones(2)}, [{3: torch.ones(2)}])  # type: ignore[dict-item]
