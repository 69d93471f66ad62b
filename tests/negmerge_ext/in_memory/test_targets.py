"""Merging into a state dict or module that the user gave, in place too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from state_dicts import LAYOUTS, copied_bytes, laid_out
from values import agreeing

from negmerge_ext import merge
from negmerge_ext.errors import (
    DtypeError,
    MissingTensorError,
    OptionError,
    PreflightError,
    ShapeMismatchError,
    UnexpectedTensorError,
    UnsupportedTensorError,
)

F32 = np.dtype(np.float32)
NAMES = ("a", "b", "c")


def states(
    models: int = 2, shape: tuple[int, ...] = (4, 6)
) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """A base, a pool, and what merging them gives."""
    drawn = {
        name: agreeing(np.random.default_rng(seed), shape, F32, (F32,) * models)
        for seed, name in enumerate(NAMES)
    }
    base = {name: base for name, (base, _) in drawn.items()}
    pool = [{name: finetuned[k] for name, (_, finetuned) in drawn.items()} for k in range(models)]
    return base, pool, {name: oracle.merge(base, finetuned) for name, (base, finetuned) in drawn.items()}


def in_torch(state: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in state.items()}


def same(state: Any, expected: dict[str, np.ndarray]) -> bool:
    return all(oracle.same_bits(np.asarray(state[name].data), expected[name]) for name in expected)


@settings(max_examples=30)
@given(st.data())
def test_out_may_have_layouts_and_libraries_of_its_own(data: st.DataObject) -> None:
    base, pool, expected = states()
    layout = st.sampled_from(LAYOUTS)
    base = {name: laid_out(array, data.draw(layout)) for name, array in base.items()}
    out = {name: laid_out(np.zeros((4, 6), F32), data.draw(layout)) for name in reversed(NAMES)}
    before = copied_bytes(base, *pool)
    assert merge(base, pool, out=out) is out
    assert list(out) == ["c", "b", "a"]
    assert same(out, expected)
    assert copied_bytes(base, *pool) == before


@pytest.mark.parametrize("layout", LAYOUTS)
def test_in_place(layout: str) -> None:
    base, pool, expected = states()
    base = {name: laid_out(array, layout) for name, array in base.items()}
    memory = [array.ctypes.data for array in base.values()]
    before = copied_bytes(*pool)
    assert merge(base, pool, out=base) is base
    assert same(base, expected)
    assert [array.ctypes.data for array in base.values()] == memory
    assert copied_bytes(*pool) == before


def test_in_place_in_a_module_that_is_being_trained() -> None:
    model, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    expected = merge(model, [other])
    weight, pointer, version = model.weight, model.weight.data_ptr(), model.weight._version
    loss = model(torch.ones(1, 5, requires_grad=True)).square().sum()
    assert merge(model, [other], out=model) is model
    assert model.weight is weight
    assert weight.data_ptr() == pointer
    assert weight.requires_grad
    assert weight.grad_fn is None
    assert weight._version > version
    assert torch.equal(weight, expected["weight"])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_out_may_be_a_finetuned_checkpoint() -> None:
    base, pool, expected = states()
    before = copied_bytes(base, pool[0])
    merge(base, pool, out=pool[1])
    assert same(pool[1], expected)
    assert copied_bytes(base, pool[0]) == before


def test_copied_tensors_reach_out_too() -> None:
    base = {"w": torch.ones(2), "steps": torch.tensor(5), "kept": torch.arange(3.0)}
    out = {"w": torch.zeros(2), "steps": torch.tensor(0), "kept": np.zeros(3, np.float32)}
    merge(base, [{"w": torch.zeros(2)}], out=out, include="w", mode="add")
    assert out["w"].tolist() == [0, 0]
    assert out["steps"] == 5
    assert out["kept"].tolist() == [0, 1, 2]


def test_out_dtype_of_out() -> None:
    base, pool, _ = states()
    half = {name: np.zeros((4, 6), np.float16) for name in NAMES}
    merge(base, pool, out=half, out_dtype="fp16")
    columns = {
        name: oracle.merge(base[name], [f[name] for f in pool], out_dtype=np.float16) for name in NAMES
    }
    assert same(half, columns)
    with pytest.raises(OptionError, match="has dtype F16, but BF16"):
        merge(base, pool, out=half, out_dtype="bf16")
    with pytest.raises(DtypeError, match="has dtype F16, but F32") as caught:
        merge(base, pool, out=half)
    assert len(caught.value.problems) == 3


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (lambda out: out.pop("b"), MissingTensorError, "in the base but not here"),
        (lambda out: out.update(d=np.zeros(2, F32)), UnexpectedTensorError, "not in the base"),
        (lambda out: out.update(b=np.zeros((6, 4), F32)), ShapeMismatchError, r"\[6, 4\], the base \[4, 6\]"),
        (lambda out: out.update(b=np.zeros((4, 6), np.float64)), DtypeError, "F64, but F32"),
        (lambda out: out.update(b=torch.zeros(4, 6, device="meta")), UnsupportedTensorError, "meta tensor"),
        (lambda out: out.update(b=read_only(np.zeros((4, 6), F32))), UnsupportedTensorError, "read-only"),
        (lambda out: out.update(b=np.zeros((4, 6), ">f4")), UnsupportedTensorError, "byte order"),
        (
            lambda out: out.update(b=torch.zeros(4, 6, dtype=torch.cfloat).conj().imag),
            UnsupportedTensorError,
            "negative view",
        ),
        (lambda out: out.update(b=torch.zeros(6).expand(4, 6)), UnsupportedTensorError, "share their memory"),
        (
            lambda out: out.update(b=torch.zeros(10).as_strided((4, 6), (1, 1))),
            UnsupportedTensorError,
            "share their memory",
        ),
        (
            lambda out: out.update(b=out["a"].reshape(-1)[::-1].reshape(4, 6)),
            UnsupportedTensorError,
            "tensor 'b': overlaps 'a'|tensor 'a': overlaps 'b'",
        ),
    ],
)
def test_everything_about_out_is_checked_before_it_is_written(
    spoil: Callable[[dict[str, Any]], object], kind: type[Exception], message: str
) -> None:
    base, pool, _ = states()
    out: dict[str, Any] = {name: np.full((4, 6), 5, F32) for name in NAMES}
    a, c = out["a"], out["c"]
    spoil(out)
    with pytest.raises(kind, match=message):
        merge(base, pool, out=out)
    assert (a == 5).all()
    assert (c == 5).all()


def test_problems_of_out_are_listed_together() -> None:
    base, pool, _ = states()
    with pytest.raises(PreflightError) as caught:
        merge(base, pool, out={"a": np.zeros(3, F32), "b": np.zeros((4, 6), np.int32)})
    kinds = {type(problem) for problem in caught.value.problems}
    assert kinds == {MissingTensorError, ShapeMismatchError, DtypeError}


def test_out_that_overlaps_inputs() -> None:
    base, pool, _ = states()
    untouched = copied_bytes(base, *pool)
    shared = np.zeros(4 * 6 + 3, F32)
    overlapping = {
        "the next tensor of the base": {**base, "b": base["c"], "c": base["b"]},
        "another model's tensor": {**base, "a": pool[1]["c"]},
        "the transposed": {name: array.reshape(6, 4).T for name, array in base.items()},
    }
    for out in overlapping.values():
        with pytest.raises(UnsupportedTensorError, match=r"overlaps '[abc]' of (the base|finetuned\[1\])"):
            merge(base, pool, out=out)
        assert copied_bytes(base, *pool) == untouched
    base["a"], inside = shared[3:].reshape(4, 6), shared[:-3].reshape(4, 6)
    with pytest.raises(UnsupportedTensorError, match="tensor 'a': overlaps 'a' of the base"):
        merge(base, pool, out={**{name: np.zeros((4, 6), F32) for name in NAMES}, "a": inside})


def test_interleaved_views_of_one_buffer_do_not_overlap() -> None:
    base, pool, expected = states()
    fused = torch.zeros(4, 18)
    out = dict(zip(NAMES, fused.split(6, dim=1), strict=True))
    merge(base, pool, out=out)
    assert same(out, expected)
    fused_base = torch.from_numpy(np.concatenate(list(base.values()), axis=1))
    views = dict(zip(NAMES, fused_base.split(6, dim=1), strict=True))
    merge(views, pool, out=views)
    assert torch.equal(fused_base, fused)


def test_empty_tensors_in_place() -> None:
    base = {"none": torch.zeros(0, 3), "w": torch.zeros(2)}
    merge(base, [{"none": torch.zeros(0, 3), "w": torch.ones(2)}], out=base)
    assert base["w"].tolist() == [-1, -1]
