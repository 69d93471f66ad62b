"""``Patch`` on models in memory: the bits of a merge, again and again, and the base given back."""

from __future__ import annotations

import doctest
import gc
import importlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import BF16, E4M3, F16, F32, F64
from pools import Pool, Tensors, make_pool
from state_dicts import LAYOUTS, TORCH_LAYOUTS, as_numpy, as_torch, copied_bytes, laid_out
from strategies import Case, cases, scales
from values import agreeing

from negmerge_ext import Accumulator, Patch, merge, native
from negmerge_ext.errors import (
    InputError,
    OptionError,
    PatchMismatchError,
    PoolError,
    TiedTensorError,
    UnsupportedTensorError,
)

SMALL = {"weight": (40, 50), "bias": (50,), "scale": (), "empty": (0, 3), "steps": (4,)}


def small_pool(models: int = 3, **options: Any) -> Pool:
    return make_pool(models, shapes=SMALL, **options)


def copy_of(tensors: Tensors) -> Tensors:
    return {name: array.copy() for name, array in tensors.items()}


def assert_equal(state: Any, expected: Tensors) -> None:
    for name, array in expected.items():
        assert oracle.same_bits(as_numpy(state[name]), array), name


@given(case=cases(largest=20_000), more=st.lists(st.tuples(scales(), st.sampled_from(["negate", "add"]))))
def test_equals_the_oracle_at_every_scale_and_reverts(case: Case, more: list[tuple[float, str]]) -> None:
    patch = Patch.make({"x": case.base}, [{"x": theta} for theta in case.finetuned], method=case.method)
    model = {"x": case.base.copy()}
    for scale, mode in [(case.scale, "add" if case.mode == "vector" else case.mode), *more]:
        patch.apply(model, scale, mode)
        expected = oracle.merge(case.base, case.finetuned, method=case.method, mode=mode, scale=scale)
        assert oracle.same_bits(model["x"], expected), (case.about, scale, mode)
    patch.revert(model)
    assert model["x"].tobytes() == case.base.tobytes(), case.about


@given(case=cases(largest=5_000))
def test_an_accumulated_patch_is_the_one_made_at_once(case: Case) -> None:
    if oracle.compute_dtype([case.base, case.finetuned[0]]) != oracle.compute_dtype(
        [case.base, *case.finetuned]
    ):
        return
    accumulator = Accumulator({"x": case.base}, case.method)
    for theta in case.finetuned:
        accumulator.add({"x": theta})
    made = Patch.make({"x": case.base}, [{"x": theta} for theta in case.finetuned], method=case.method)
    accumulated = accumulator.patch()
    assert repr(accumulated.tensors) == repr(made.tensors)  # NaN statistics are equal to themselves here
    models = [{"x": case.base.copy()}, {"x": case.base.copy()}]
    for patch, model in zip((accumulated, made), models, strict=True):
        patch.apply(model, case.scale)
    assert oracle.same_bits(models[0]["x"], models[1]["x"])


@pytest.mark.parametrize(
    ("library", "layout"),
    [*(("numpy", layout) for layout in LAYOUTS), *(("torch", layout) for layout in TORCH_LAYOUTS)],
)
def test_any_layout(library: str, layout: str) -> None:
    pool = make_pool(2, shapes={"image": (4, 3, 5, 7), **SMALL}, base_dtypes=(BF16, F32, E4M3, F64, F16))
    patch = Patch.make(pool.base, pool.finetuned)
    arrays = {name: laid_out(array, layout) for name, array in pool.base.items()}
    model = {name: as_torch(array) for name, array in arrays.items()} if library == "torch" else arrays
    for scale in (0.8, -1.5):
        patch.apply(model, scale)
        assert_equal(model, pool.expected(scale=scale))
    patch.revert(model)
    assert_equal(model, pool.base)


def test_tensors_of_many_segments_and_any_number_of_threads() -> None:
    base, finetuned = agreeing(np.random.default_rng(1), (700_001,), BF16, (BF16, BF16))
    patch = Patch.make({"x": base}, [{"x": theta} for theta in finetuned])
    expected = oracle.merge(base, finetuned, scale=0.4)
    for threads in (1, 3):
        model = {"x": base.copy()}
        patch.apply(model, 1.0, threads=threads)
        patch.apply(model, 0.4, threads=threads)
        assert oracle.same_bits(model["x"], expected)
        patch.revert(model, threads=threads)
        assert model["x"].tobytes() == base.tobytes()


def test_keeps_by_consensus_and_not_by_value() -> None:
    """Uniform merging keeps zeros: adding one to -0.0 gives +0.0, which leaving it alone does not."""
    base = np.array([-0.0, -0.0, 1.0], np.float32)
    patch = Patch.make({"x": base}, [{"x": base.copy()}], method="uniform")
    assert patch.kept == 3
    model = {"x": base.copy()}
    patch.apply(model, mode="add")
    assert not np.signbit(model["x"]).any()
    patch.apply(model, mode="negate")
    assert np.signbit(model["x"][:2]).all()
    patch.revert(model)
    assert model["x"].tobytes() == base.tobytes()


def test_infinities_and_nan() -> None:
    inf, nan = np.inf, np.nan
    base = np.array([inf, -inf, nan, 1.0, 1.0, -0.0], np.float32)
    finetuned = np.array([-inf, inf, 1.0, inf, nan, -0.0], np.float32)
    patch = Patch.make({"x": base}, [{"x": finetuned}])
    model = {"x": base.copy()}
    for scale in (1.0, 0.0, -1.0):
        patch.apply(model, scale)
        assert oracle.same_bits(model["x"], oracle.merge(base, [finetuned], scale=scale))
    patch.revert(model)
    assert model["x"].tobytes() == base.tobytes()


def trained_module() -> tuple[torch.nn.Module, list[dict[str, torch.Tensor]]]:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).to(
        memory_format=torch.channels_last  # type: ignore[call-overload]
    )
    state = module.state_dict()
    pool = [
        {name: t + torch.rand_like(t) - 0.2 if t.is_floating_point() else t + 1 for name, t in state.items()}
        for _ in range(3)
    ]
    return module, pool


def test_modules() -> None:
    module, pool = trained_module()
    base = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    patch = Patch.make(module, pool)
    parameters = list(module.parameters())
    for scale in (1.0, 0.25):
        patch.apply(module, scale)
        expected = merge(base, pool, scale=scale)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())
    assert all(a is b and a.requires_grad for a, b in zip(parameters, module.parameters(), strict=True))
    patch.revert(module)
    assert all(torch.equal(tensor, base[name]) for name, tensor in module.state_dict().items())


def test_a_module_and_its_state_dict_are_one_model() -> None:
    module, pool = trained_module()
    base = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    patch = Patch.make(module, pool)
    patch.apply(module.state_dict(), 1.0)
    gc.collect()
    patch.apply(module, 0.5)
    patch.revert(module.state_dict(keep_vars=True))
    assert all(torch.equal(tensor, base[name]) for name, tensor in module.state_dict().items())


def test_autograd_notices() -> None:
    module, pool = trained_module()
    patch = Patch.make(module, pool)
    loss = module(torch.rand(2, 3, 4, 4)).square().sum()
    patch.apply(module)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_inference_tensors() -> None:
    pool = small_pool()
    with torch.inference_mode():
        model = {name: as_torch(array.copy()) * 1 for name, array in pool.base.items()}
    patch = Patch.make(pool.base, pool.finetuned)
    patch.apply(model)
    with torch.inference_mode():
        assert_equal(model, pool.expected())


def change_one_value(model: Tensors) -> None:
    model["weight"][3, 4] += 1


def change_type(model: Tensors) -> None:
    model["bias"] = model["bias"].astype(np.float64)


def change_shape(model: Tensors) -> None:
    model["bias"] = model["bias"].reshape(5, 10)


def remove(model: Tensors) -> None:
    del model["bias"]


@pytest.mark.parametrize(
    ("change", "tensor"),
    [(change_one_value, "weight"), (change_type, "bias"), (change_shape, "bias"), (remove, "bias")],
)
def test_refuses_another_model_before_writing(change: Callable[[Tensors], None], tensor: str) -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    model = copy_of(pool.base)
    change(model)
    before = copied_bytes(model)
    with pytest.raises(PatchMismatchError, match=tensor):
        patch.apply(model)
    assert copied_bytes(model) == before


def test_ignores_tensors_it_does_not_change() -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned, exclude="bias")
    model = copy_of(pool.base) | {"bias": np.zeros(3), "another": "not even a tensor"}
    patch.apply(model)
    assert_equal(model, {"weight": pool.expected()["weight"]})


def test_refuses_what_cannot_be_written() -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    model = copy_of(pool.base)
    model["weight"].flags.writeable = False
    model["bias"] = model["bias"].astype(">f4")
    with pytest.raises(UnsupportedTensorError) as caught:
        patch.apply(model)
    assert {problem.tensor for problem in caught.value.problems} == {"weight", "bias"}
    expanded = {"x": torch.ones(1).expand(5)}
    with pytest.raises(UnsupportedTensorError, match="share"):
        Patch.make({"x": torch.ones(5)}, [{"x": torch.full((5,), 2.0)}]).apply(expanded)
    memory = torch.ones(8)
    overlapping = {"x": memory[:5], "y": memory[3:]}
    apart = {name: tensor.clone() for name, tensor in overlapping.items()}
    with pytest.raises(UnsupportedTensorError, match="shares"):
        Patch.make(apart, [{name: tensor + 1 for name, tensor in apart.items()}]).apply(overlapping)


def test_bad_arguments() -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    for scale, mode in [(np.inf, "negate"), ("much", "negate"), (1.0, "vector"), (1.0, "subtract")]:
        with pytest.raises(OptionError):
            patch.apply(copy_of(pool.base), scale, mode)
    with pytest.raises(OptionError, match="threads"):
        patch.apply(copy_of(pool.base), threads=-1)
    with pytest.raises(InputError, match="apply_to_file"):
        patch.apply("model.safetensors")  # type: ignore[arg-type]
    with pytest.raises(PoolError):
        Patch.make(pool.base, [])
    with pytest.raises(OptionError, match="overwrite"):
        Patch.make(pool.base, pool.finetuned, overwrite=True)


def test_tied_tensors_are_written_once_and_must_agree() -> None:
    base, finetuned = agreeing(np.random.default_rng(0), (6, 50), F32, (F32, F32))
    patch = Patch.make({"a": base, "b": base}, [{"a": theta, "b": theta} for theta in finetuned])
    shared = torch.from_numpy(base.copy())
    for scale in (1.0, 0.5):
        patch.apply({"a": shared, "b": shared}, scale)
        assert oracle.same_bits(as_numpy(shared), oracle.merge(base, finetuned, scale=scale))
    patch.revert({"a": shared, "b": shared})
    assert as_numpy(shared).tobytes() == base.tobytes()

    apart = Patch.make({"a": base, "b": base}, [{"a": finetuned[0], "b": finetuned[1]}])
    with pytest.raises(TiedTensorError, match="'a'"):
        apart.apply({"a": shared, "b": shared})
    assert as_numpy(shared).tobytes() == base.tobytes()


def test_notices_changes_to_patched_elements() -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    model = copy_of(pool.base)
    patch.apply(model, 0.5)
    model["weight"] *= 2
    before = copied_bytes(model)
    with pytest.raises(PatchMismatchError, match="changed"):
        patch.apply(model, 1.0)
    with pytest.raises(PatchMismatchError, match="changed"):
        patch.revert(model)
    assert copied_bytes(model) == before
    for name, array in pool.base.items():
        model[name][...] = array
    patch.apply(model, 1.0)
    assert_equal(model, pool.expected())


def test_two_patches_on_one_model() -> None:
    pool = small_pool(4)
    first = Patch.make(pool.base, pool.finetuned[:2])
    middle = merge(pool.base, pool.finetuned[:2])
    second = Patch.make(middle, pool.finetuned[2:])
    model = copy_of(pool.base)
    with pytest.raises(PatchMismatchError, match="differs"):
        second.apply(model)
    first.apply(model)
    second.apply(model, 0.5)
    assert_equal(model, merge(middle, pool.finetuned[2:], scale=0.5))
    with pytest.raises(PatchMismatchError, match="changed"):
        first.revert(model)
    second.revert(model)
    first.revert(model)
    assert_equal(model, pool.base)


def test_revert_needs_an_apply() -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    model = copy_of(pool.base)
    with pytest.raises(PatchMismatchError, match="not applied"):
        patch.revert(model)
    patch.apply(model)
    with pytest.raises(PatchMismatchError, match="not applied"):
        patch.revert(copy_of(model))
    patch.revert(model)
    with pytest.raises(PatchMismatchError, match="not applied"):
        patch.revert(model)


def test_forgets_models_that_are_gone() -> None:
    base, finetuned = agreeing(np.random.default_rng(0), (100_000,), F32, (F32,))
    patch = Patch.make({"x": base}, [{"x": finetuned[0]}])
    patch.apply({"x": base.copy()})
    tracemalloc.start()
    try:
        for _ in range(5):
            patch.apply({"x": base.copy()}, 0.5)
        gc.collect()
        left, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert left < base.nbytes


def interrupt_half_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next native move change the first half of its tensors only."""
    move = native.move

    def interrupted(rows: np.ndarray, *arguments: Any, **options: Any) -> bool:
        monkeypatch.setattr(native, "move", move)
        assert move(rows[: len(rows) // 2], *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(native, "move", interrupted)


def test_an_interrupted_apply_can_be_repeated_or_reverted(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    for finish in (lambda model: patch.apply(model, 0.5), patch.revert):
        model = copy_of(pool.base)
        patch.apply(model, 2.0)
        for scale in (1.0, 3.0):
            interrupt_half_way(monkeypatch)
            with pytest.raises(KeyboardInterrupt):
                patch.apply(model, scale)
        finish(model)
        assert_equal(model, pool.base if finish == patch.revert else pool.expected(scale=0.5))


def test_an_interrupted_revert_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    model = copy_of(pool.base)
    patch.apply(model, 2.0)
    interrupt_half_way(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        patch.revert(model)
    patch.revert(model)
    assert_equal(model, pool.base)


def test_changes_are_noticed_after_an_interrupted_apply_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = small_pool()
    patch = Patch.make(pool.base, pool.finetuned)
    model = copy_of(pool.base)
    patch.apply(model, 2.0)
    interrupt_half_way(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        patch.apply(model, 1.0)
    model["weight"] *= 2
    with pytest.raises(PatchMismatchError, match="changed"):
        patch.apply(model, 0.5)


def test_a_changed_tensor_of_any_layout_leaves_all_others_as_they_are() -> None:
    shapes = {"image": (4, 3, 5, 7), "weight": (40, 50), "other": (6, 7)}
    pool = make_pool(2, shapes=shapes)
    patch = Patch.make(pool.base, pool.finetuned)
    for name in shapes:
        model = {key: np.asfortranarray(array) for key, array in pool.base.items()}
        model["weight"] = model["weight"].copy(order="C")
        patch.apply(model, 0.5)
        model[name] += 1
        before = copied_bytes(model)
        with pytest.raises(PatchMismatchError, match="was changed"):
            patch.apply(model, 2.0)
        with pytest.raises(PatchMismatchError, match="changed"):
            patch.revert(model)
        assert copied_bytes(model) == before


def test_example() -> None:
    assert doctest.testmod(importlib.import_module("negmerge_ext.patch")).failed == 0


def test_describes_itself() -> None:
    pool = small_pool(3, base_dtypes=(BF16, F32))
    patch = Patch.make(pool.base, pool.finetuned)
    merged = [name for name in pool.names if name not in pool.copied]
    assert [tensor.name for tensor in patch.tensors] == merged
    kept = 0
    described = patch.describe()
    for row in described["tensors"]:
        theta = [model[row["name"]] for model in pool.finetuned]
        expected = oracle.statistics(pool.base[row["name"]], theta)
        assert (row["kept"], row["norm"], row["max_abs"]) == (
            expected.kept,
            expected.norm_exact,
            expected.max_abs,
        )
        kept += expected.kept
    elements = sum(pool.base[name].size for name in merged)
    model_elements = sum(array.size for array in pool.base.values())
    totals = described["totals"]
    assert (patch.kept, patch.elements, patch.models, patch.method) == (kept, elements, 3, "negmerge")
    assert totals["kept_fraction_of_patched_elements"] == kept / elements
    assert totals["kept_fraction_of_model_elements"] == kept / model_elements
    assert totals["model_bytes"] == patch.model_nbytes == sum(a.nbytes for a in pool.base.values())
    masks = sum(2 * -(-pool.base[name].size // 16) for name in merged)
    assert totals["patch_bytes"] == patch.nbytes == masks + 4 * kept
    assert [entry["name"] for entry in described["finetuned"]] == [f"finetuned[{k}]" for k in range(3)]


def test_what_is_no_tensor_is_named_when_a_patch_is_applied() -> None:
    base = {"w": torch.ones(2), "epoch": 3}
    patch = Patch.make(base, [{"w": torch.full((2,), 2.0)}], exclude="epoch")
    with pytest.raises(UnsupportedTensorError, match="'w': is a int"):
        patch.apply({"w": 3})
    patch.apply(base)
    assert base["w"].tolist() == [0, 0]
