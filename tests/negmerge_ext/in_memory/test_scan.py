"""Scans of ordinary tensors: both ways agree with a close look at each tensor, and refuse all others."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing._internal.two_tensor import TwoTensor

from negmerge_ext import dtypes, native
from negmerge_ext.in_memory import scan as scanning
from negmerge_ext.in_memory.plain_tensor import locate
from negmerge_ext.in_memory.scan import Scan, by_attributes, by_exchange, scan
from negmerge_ext.in_memory.state_dict import StateDictSource

EXCHANGE = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
EVERYDAY = [name for name in dtypes.NAMES if name in dtypes.CODES or name in dtypes.NOT_FLOATING]

needs_exchange = pytest.mark.skipif(EXCHANGE is None, reason="this torch has no DLPack exchange API")


def ways() -> list[Callable[[dict[str, Any]], Scan | None]]:
    found: list[Callable[[dict[str, Any]], Scan | None]] = [lambda s: by_attributes(tuple(s), (*s.values(),))]
    if EXCHANGE is not None:
        found.append(lambda s: by_exchange(tuple(s), (*s.values(),), EXCHANGE))
    return found


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """An ordinary tensor, in some layout."""
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    dtype = dtypes.to_torch(draw(st.sampled_from(EVERYDAY)))
    tensor = torch.empty(shape, dtype=dtype)
    layout = draw(st.sampled_from(["packed", "transposed", "cut", "expanded", "parameter"]))
    if layout == "transposed" and shape:
        return tensor.transpose(0, -1)
    if layout == "cut" and shape and shape[0] > 0:
        return tensor[draw(st.integers(0, shape[0] - 1)) :: 2]
    if layout == "expanded":
        return tensor.expand(2, *shape)
    if layout == "parameter" and tensor.is_floating_point():
        return torch.nn.Parameter(tensor)
    return tensor


@given(st.lists(tensors(), max_size=6))
def test_scans_agree_with_a_close_look(values: list[torch.Tensor]) -> None:
    state = {f"t{i}": value for i, value in enumerate(values)}
    looked = [locate(value) for value in values]
    for way in ways():
        found = way(state)
        assert found is not None
        assert dict(found.table) == {name: one.info for name, one in zip(state, looked, strict=True)}
        assert found.table.numel.tolist() == [value.numel() for value in values]
        assert found.start.tolist() == [one.address for one in looked]
        assert found.row_major.tolist() == [one.row_major for one in looked]
        assert found.device is None  # all are on the CPU


def quietly(make: Callable[[], torch.Tensor]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class Named(torch.Tensor):
    pass


SPECIAL: dict[str, Callable[[], Any]] = {
    "numpy array": lambda: np.ones(3, np.float32),
    "no tensor": lambda: [1.0],
    "subclass": lambda: torch.ones(3).as_subclass(Named),
    "wrapper": lambda: TwoTensor(torch.ones(3), torch.ones(3)),
    "lazy parameter": torch.nn.UninitializedParameter,
    "meta": lambda: torch.ones(3, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "compressed": lambda: torch.eye(3).to_sparse_csr(),
    "mkldnn": lambda: torch.eye(3).to_mkldnn(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "quantised": lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    "complex": lambda: torch.ones(3, dtype=torch.complex64),
    "conjugate": lambda: torch.ones(3, dtype=torch.complex64).conj(),
    "negated": lambda: torch.ones(3, dtype=torch.complex64).conj().imag,
    "negated, packed": lambda: torch._neg_view(torch.ones(3)),
    "functional": lambda: torch._to_functional_tensor(torch.ones(3)),
    "known to be zero": lambda: torch._efficientzerotensor(3),
    "fnuz": lambda: torch.ones(3).to(torch.float8_e4m3fnuz),
    "four bits in a byte": lambda: torch.empty(3, dtype=torch.uint4),
    "two of four bits": lambda: torch.empty(3, dtype=torch.float4_e2m1fn_x2),
    "bits": lambda: torch.empty(3, dtype=torch.bits8),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_anything_special_is_left_to_a_closer_look(kind: str) -> None:
    if kind == "two of four bits" and not hasattr(torch, "float4_e2m1fn_x2"):
        pytest.skip("this torch has no such dtype")
    state = {"first": torch.ones(2), "special": quietly(SPECIAL[kind])}
    for way in ways():
        assert way(state) is None
    assert not StateDictSource(state, "base").ordinary


def test_tensors_of_a_function_transform_are_left_to_a_closer_look() -> None:
    def looked_at(x: torch.Tensor) -> torch.Tensor:
        assert [way({"x": x}) for way in ways()] == [None] * len(ways())
        return x

    torch.func.vmap(looked_at)(torch.ones(2, 3))


def test_names_that_are_no_strings_are_left_to_a_closer_look() -> None:
    state: dict[Any, torch.Tensor] = {"w": torch.ones(2), 3: torch.ones(2)}
    assert [way(state) for way in ways()] == [None] * len(ways())


def test_a_torch_without_the_exchange_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"w": torch.ones(2, 3), "steps": torch.tensor(4)}
    monkeypatch.delattr(torch.Tensor, "__dlpack_c_exchange_api__", raising=False)
    monkeypatch.setattr(scanning, "by_exchange", None)
    source = StateDictSource(state, "base")
    assert source.ordinary
    assert {name: info.shape for name, info in source.tensors.items()} == {"w": (2, 3), "steps": ()}


@needs_exchange
def test_without_torch_there_is_nothing_to_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    values = (torch.ones(2),)
    monkeypatch.delitem(sys.modules, "torch")
    assert scan({"w": values[0]}, values) is None


@needs_exchange
def test_errors_of_the_exchange_interface_do_not_linger() -> None:
    meta = torch.ones(3, device="meta")
    for _ in range(3):
        assert by_exchange(("w",), (meta,), EXCHANGE) is None
    assert by_exchange(("w",), (torch.ones(3),), EXCHANGE) is not None


@pytest.mark.parametrize("exchange", [torch.ones(1).__dlpack__(), 140000000, None])
def test_anything_but_the_exchange_interface_is_not_read(exchange: object) -> None:
    arguments = (("w",), (torch.ones(1),), exchange, (torch.Tensor,), torch.Tensor.is_neg)
    assert native.scan(*arguments, np.zeros(1 << 16, np.int64), {}) is None
