"""``Accumulator``: the bits of a merge of all models at once, whatever is added and when it is finished."""

from __future__ import annotations

import doctest
import importlib
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from oracle import BF16, F16, F32, F64
from pools import Pool, make_pool
from state_dicts import TORCH_LAYOUTS, as_numpy, as_torch, laid_out
from strategies import Case, cases
from values import agreeing

from negmerge_ext import Accumulator, inspect, merge, native
from negmerge_ext.errors import (
    CheckpointError,
    DtypeError,
    MissingTensorError,
    NothingToMergeError,
    OptionError,
    PatternError,
    PoolError,
    ShapeMismatchError,
    TiedTensorError,
    UnexpectedTensorError,
)

SMALL = {"weight": (40, 50), "bias": (50,), "scale": (), "empty": (0, 3), "steps": (4,)}


def small_pool(models: int = 3, **options: Any) -> Pool:
    return make_pool(models, shapes=SMALL, **options)


def torch_state(tensors: dict[str, np.ndarray], layout: str = "packed") -> dict[str, torch.Tensor]:
    return {name: as_torch(laid_out(array, layout)) for name, array in tensors.items()}


def assert_equal(state: Any, expected: dict[str, np.ndarray]) -> None:
    assert sorted(state) == sorted(expected)
    for name, array in expected.items():
        assert oracle.same_bits(as_numpy(state[name]), array), name


def accumulated(pool: Pool, **options: Any) -> Accumulator:
    accumulator = Accumulator(pool.base, **options)
    for model in pool.finetuned:
        accumulator.add(model)
    return accumulator


def first_compute_is_that_of_all(case: Case) -> bool:
    """Whether an fp64 tensor, if there is one, is the base's or the first model's."""
    early = [case.base, case.finetuned[0]]
    return oracle.compute_dtype(early) == oracle.compute_dtype([*early, *case.finetuned])


@given(case=cases(largest=20_000))
def test_equals_the_oracle(case: Case) -> None:
    pool = Pool({"x": case.base}, [{"x": theta} for theta in case.finetuned], ())
    if not first_compute_is_that_of_all(case):
        with pytest.raises(DtypeError, match="F64"):
            accumulated(pool, method=case.method)
        return
    accumulator = accumulated(pool, method=case.method)
    merged = accumulator.finish(scale=case.scale, mode=case.mode, out_dtype=case.out_dtype.name)
    assert oracle.same_bits(as_numpy(merged["x"]), case.expected()), case.about


@pytest.mark.parametrize("layout", TORCH_LAYOUTS)
def test_any_layout_of_base_and_models(layout: str) -> None:
    pool = small_pool(base_dtypes=(BF16, F32, F64), finetuned_dtypes=(F32, F16))
    accumulator = Accumulator(torch_state(pool.base, layout))
    for number, model in enumerate(pool.finetuned):
        accumulator.add(torch_state(model, layout if number else "packed"))
    assert_equal(accumulator.finish(scale=0.7), pool.expected(scale=0.7))


def test_numpy_stays_numpy_and_torch_stays_torch() -> None:
    pool = small_pool()
    accumulator = Accumulator(pool.base)
    accumulator.add(torch_state(pool.finetuned[0]))
    assert {type(value) for value in accumulator.finish().values()} == {np.ndarray}
    accumulator = Accumulator(torch_state(pool.base))
    accumulator.add(pool.finetuned[0])
    assert {type(value) for value in accumulator.finish().values()} == {torch.Tensor}


def test_keeps_the_order_of_the_base() -> None:
    pool = small_pool(1)
    accumulator = Accumulator(pool.base)
    accumulator.add(dict(reversed(pool.finetuned[0].items())))
    assert list(accumulator.finish()) == list(pool.base)


def test_finishes_at_any_time_and_again() -> None:
    pool = small_pool(4)
    accumulator = Accumulator(pool.base)
    for count, model in enumerate(pool.finetuned, start=1):
        accumulator.add(model)
        assert accumulator.models == count
        so_far = Pool(pool.base, pool.finetuned[:count], pool.copied)
        for options in ({"scale": 0.3}, {"mode": "add", "scale": -2.0}, {"mode": "vector"}):
            assert_equal(accumulator.finish(**options), so_far.expected(**options))


def test_holds_a_copy_of_the_base() -> None:
    pool = small_pool()
    base = torch_state(pool.base)
    accumulator = Accumulator(base)
    for tensor in base.values():
        tensor.zero_()
    for model in pool.finetuned:
        accumulator.add(model)
    assert_equal(accumulator.finish(), pool.expected())


def test_trains_one_module_in_place() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    accumulator = Accumulator(model)
    pool = []
    for seed in range(3):
        model.load_state_dict(base)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.rand_like(parameter) - 0.2)
        accumulator.add(model)
        pool.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    merged = accumulator.finish(scale=0.5)
    assert isinstance(merged, OrderedDict)
    expected = merge(base, pool, scale=0.5)
    assert all(torch.equal(merged[name], expected[name]) for name in base)
    assert not any(tensor.requires_grad for tensor in merged.values())
    assert accumulator.finish(scale=0.5, out=model) is model
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_reads_files(tmp_path: Path) -> None:
    pool = small_pool(base_dtypes=(BF16, F32))
    base, finetuned = pool.save(tmp_path)
    torch.save(torch_state(pool.finetuned[1], "transposed"), tmp_path / "one.pt")
    accumulator = Accumulator(base)
    for model in (finetuned[0], tmp_path / "one.pt", pool.finetuned[2]):
        accumulator.add(model)
    assert_equal(accumulator.finish(scale=1.5), pool.expected(scale=1.5))


def test_memory_does_not_grow_with_the_models() -> None:
    pool = make_pool(2)
    accumulator = accumulated(pool)
    tracemalloc.start()
    try:
        for _ in range(30):
            accumulator.add(pool.finetuned[0])
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < sum(array.nbytes for array in pool.base.values())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda model: model.pop("bias"), MissingTensorError),
        (lambda model: model.update(bias=np.zeros(51, np.float32)), ShapeMismatchError),
        (lambda model: model.update(bias=np.zeros(50, np.int32)), DtypeError),
        (lambda model: model.update(bias=np.zeros(50, np.float64)), DtypeError),
        (lambda model: model.update(more=np.zeros(1, np.float32)), UnexpectedTensorError),
    ],
)
def test_a_refused_model_changes_nothing(change: Any, error: type[Exception]) -> None:
    pool = small_pool()
    accumulator = Accumulator(pool.base)
    accumulator.add(pool.finetuned[0])
    bad = dict(pool.finetuned[1])
    change(bad)
    with pytest.raises(error, match=r"finetuned\[1\]"):
        accumulator.add(bad)
    with pytest.raises(CheckpointError, match="does not exist"):
        accumulator.add("/nowhere/model.safetensors")
    for model in pool.finetuned[1:]:
        accumulator.add(model)
    assert accumulator.models == 3
    assert_equal(accumulator.finish(), pool.expected())


def test_a_double_model_may_come_first_or_follow_a_double_base() -> None:
    base, (single, double) = agreeing(np.random.default_rng(0), (9, 70), F32, (F32, F64))
    accumulator = Accumulator({"x": base})
    accumulator.add({"x": double})
    accumulator.add({"x": single})
    assert oracle.same_bits(as_numpy(accumulator.finish()["x"]), oracle.merge(base, [double, single]))
    accumulator = Accumulator({"x": base.astype(F64)})
    accumulator.add({"x": single})
    accumulator.add({"x": double})
    merged = accumulator.finish(out_dtype="float32")
    assert oracle.same_bits(as_numpy(merged["x"]), oracle.merge(base, [single, double]))


def test_no_models() -> None:
    accumulator = Accumulator(small_pool().base)
    for use in (accumulator.finish, accumulator.stats, accumulator.patch):
        with pytest.raises(PoolError, match="no fine-tuned model"):
            use()


def test_refuses_a_base_and_options_at_once() -> None:
    base = small_pool().base
    with pytest.raises(PatternError, match="wieght"):
        Accumulator(base, include="wieght")
    with pytest.raises(NothingToMergeError):
        Accumulator({"steps": base["steps"]})
    with pytest.raises(OptionError, match="negmrege"):
        Accumulator(base, "negmrege")
    with pytest.raises(OptionError, match="threads"):
        Accumulator(base, threads=0)


def test_include_and_exclude_copy_from_the_base() -> None:
    pool = small_pool()
    accumulator = accumulated(pool, exclude=["b*"])
    assert_equal(accumulator.finish(), Pool(pool.base, pool.finetuned, ("steps", "bias")).expected())


def test_writes_into_a_given_state_dict_and_refuses_a_path() -> None:
    pool = small_pool()
    accumulator = accumulated(pool)
    out = torch_state(pool.finetuned[0], "transposed")
    assert accumulator.finish(out=out) is out
    assert_equal(out, pool.expected())
    with pytest.raises(MissingTensorError, match="out"):
        accumulator.finish(out={"weight": out["weight"]})
    with pytest.raises(OptionError, match="path"):
        accumulator.finish(out="merged.safetensors")  # type: ignore[arg-type]


def test_tied_tensors_stay_tied_and_must_agree() -> None:
    base, finetuned = agreeing(np.random.default_rng(0), (6, 5), F32, (F32, F32))
    shared = torch.from_numpy(base)
    accumulator = Accumulator({"a": shared, "b": shared})
    with pytest.raises(TiedTensorError, match="'b'"):
        accumulator.add({"a": finetuned[0], "b": finetuned[1]})
    for theta in finetuned:
        accumulator.add({"a": theta, "b": theta})
    merged = accumulator.finish()
    assert merged["a"].data_ptr() == merged["b"].data_ptr()
    assert oracle.same_bits(as_numpy(merged["a"]), oracle.merge(base, finetuned))


def test_an_output_may_tie_only_what_has_one_result() -> None:
    base, finetuned = agreeing(np.random.default_rng(0), (6, 5), F32, (F32, F32))
    accumulator = Accumulator({"a": base, "b": base.copy(), "c": base.copy()})
    accumulator.add({"a": finetuned[0], "b": finetuned[0], "c": finetuned[1]})
    one, two = np.zeros((6, 5), np.float32), np.zeros((6, 5), np.float32)
    with pytest.raises(TiedTensorError, match="'c'"):
        accumulator.finish(out={"a": one, "b": two, "c": one})
    assert not one.any()
    accumulator.finish(out={"a": one, "b": one, "c": two})
    assert oracle.same_bits(one, oracle.merge(base, finetuned[:1]))


def test_an_interrupted_addition_is_not_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = small_pool()

    def interrupted(**_: Any) -> None:
        raise KeyboardInterrupt

    accumulator = Accumulator(pool.base)
    with monkeypatch.context() as patch:
        patch.setattr(native, "merge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            accumulator.add(pool.finetuned[0])
    for model in pool.finetuned:
        accumulator.add(model)
    assert_equal(accumulator.finish(), pool.expected())

    with monkeypatch.context() as patch:
        patch.setattr(native, "merge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            accumulator.add(pool.finetuned[0])
    for use in (lambda: accumulator.add(pool.finetuned[0]), accumulator.finish, accumulator.patch):
        with pytest.raises(PoolError, match="interrupted"):
            use()


@pytest.mark.parametrize(("method", "masks"), [("negmerge", 2), ("magmax", 0), ("ties", 0)])
def test_a_method_that_does_not_look_at_signs_has_no_masks(
    monkeypatch: pytest.MonkeyPatch, method: str, masks: int
) -> None:
    states, merged = [], native.merge

    def seen(**arguments: Any) -> None:
        states.append(arguments["state"])
        merged(**arguments)

    monkeypatch.setattr(native, "merge", seen)
    accumulated(small_pool(), method=method).finish()
    assert states
    for state in states:
        assert len(state.positive) + len(state.negative) == masks * len(state.values)


def test_example() -> None:
    assert doctest.testmod(importlib.import_module("negmerge_ext.accumulator")).failed == 0


def test_statistics_are_those_of_inspect() -> None:
    pool = small_pool(3, base_dtypes=(BF16, F32))
    accumulator = accumulated(pool)
    ours, theirs = accumulator.stats(), inspect(pool.base, pool.finetuned)
    assert [(t.name, t.kept, t.norm, t.max_abs, t.non_finite) for t in ours.merged] == [
        (t.name, t.kept, t.norm, t.max_abs, t.non_finite) for t in theirs.merged
    ]
    assert (ours.models, ours.copied, ours.kept_of_model) == (3, theirs.copied, theirs.kept_of_model)
