"""``merge()`` and ``inspect()``: arguments, mixes of memory and files, and what they refuse."""

from __future__ import annotations

import doctest
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from safetensors.torch import load_file, save_file
from state_dicts import LAYOUTS, as_numpy, copied_bytes, laid_out
from values import agreeing

from negmerge_ext import MergeReport, Patch, api, inspect, merge
from negmerge_ext.checkpoint import preflight
from negmerge_ext.errors import (
    CheckpointError,
    DeviceError,
    DiskSpaceError,
    DtypeError,
    MissingTensorError,
    NothingToMergeError,
    OptionError,
    OutputError,
    OutputExistsError,
    PatternError,
    PoolError,
    PreflightError,
    ShapeMismatchError,
    TiedTensorError,
    UnexpectedTensorError,
)

F32 = np.dtype(np.float32)
SHAPES = {"a.weight": (5, 7), "a.bias": (7,), "scale": (), "none": (0, 2)}
MODELS = 3

State = dict[str, torch.Tensor]


@pytest.fixture
def states() -> tuple[State, list[State]]:
    drawn = {
        name: agreeing(np.random.default_rng(seed), shape, F32, (F32,) * MODELS)
        for seed, (name, shape) in enumerate(SHAPES.items())
    }
    base = {name: torch.from_numpy(base) for name, (base, _) in drawn.items()}
    base["steps"] = torch.tensor([1, 2])
    pool = [{name: torch.from_numpy(pool[k]) for name, (_, pool) in drawn.items()} for k in range(MODELS)]
    return base, pool


def expected(base: State, pool: list[State], **options: Any) -> dict[str, np.ndarray]:
    merged = {
        name: oracle.merge(as_numpy(base[name]), [as_numpy(state[name]) for state in pool], **options)
        for name in SHAPES
    }
    return {**merged, "steps": base["steps"].numpy()}


def same(state: Any, wanted: dict[str, np.ndarray]) -> bool:
    return set(state) == set(wanted) and all(
        oracle.same_bits(as_numpy(state[name]), wanted[name]) for name in wanted
    )


def on_disk(state: State, path: Path) -> Path:
    if path.suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    return path


class Module(torch.nn.Module):
    """A module whose state dict is the given one."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.a = torch.nn.Module()
        for name, tensor in state.items():
            owner, _, attribute = name.rpartition(".")
            target = self.get_submodule(owner)
            if tensor.is_floating_point():
                target.register_parameter(attribute, torch.nn.Parameter(tensor.clone()))
            else:
                target.register_buffer(attribute, tensor.clone())


FORMS: dict[str, Callable[[State, Path], Any]] = {
    "torch": lambda state, folder: state,
    "numpy": lambda state, folder: {name: as_numpy(tensor) for name, tensor in state.items()},
    "module": lambda state, folder: Module(state),
    "safetensors": lambda state, folder: on_disk(state, folder / f"{id(state)}.safetensors"),
    "text path": lambda state, folder: str(on_disk(state, folder / f"{id(state)}.safetensors")),
    "pt": lambda state, folder: on_disk(state, folder / f"{id(state)}.pt"),
}


@pytest.mark.parametrize("base_form", FORMS)
@pytest.mark.parametrize("pool_forms", [["torch"], ["safetensors"], ["pt", "numpy"], ["module", "text path"]])
def test_any_mix_of_memory_and_files(
    base_form: str, pool_forms: list[str], states: tuple[State, list[State]], tmp_path: Path
) -> None:
    base, pool = states
    given = [FORMS[pool_forms[k % len(pool_forms)]](state, tmp_path) for k, state in enumerate(pool)]
    wanted = expected(base, pool, scale=0.6, mode="add")
    before = copied_bytes(base, *pool)
    merged = merge(FORMS[base_form](base, tmp_path), given, scale=0.6, mode="add")
    assert same(merged, wanted)
    kind = np.ndarray if base_form == "numpy" else torch.Tensor
    assert all(isinstance(value, kind) for value in merged.values())
    assert copied_bytes(base, *pool) == before

    report = merge(
        FORMS[base_form](base, tmp_path), given, scale=0.6, mode="add", out=tmp_path / "out.safetensors"
    )
    assert isinstance(report, MergeReport)
    assert same(load_file(tmp_path / "out.safetensors"), wanted)


@pytest.mark.parametrize("form", ["torch", "numpy", "module"])
def test_files_merged_into_memory_that_was_given(
    form: str, states: tuple[State, list[State]], tmp_path: Path
) -> None:
    base, pool = states
    paths = [FORMS["safetensors"](state, tmp_path) for state in pool]
    wanted = expected(base, pool)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in base.items()}
    out = FORMS[form](zeros, tmp_path)
    assert merge(FORMS["pt"](base, tmp_path), paths, out=out) is out
    assert same(out.state_dict() if form == "module" else out, wanted)
    in_place = FORMS[form](base, tmp_path)
    assert merge(in_place, paths, out=in_place, max_memory="64MiB") is in_place
    assert same(in_place.state_dict() if form == "module" else in_place, wanted)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_merged_into_any_layout(layout: str, tmp_path: Path) -> None:
    base, finetuned = agreeing(np.random.default_rng(0), (3, 4, 5), F32, (F32,))
    save_file({"w": torch.from_numpy(finetuned[0])}, tmp_path / "one.safetensors")
    wanted = oracle.merge(base, finetuned)
    stored = {"w": laid_out(base, layout)}
    assert oracle.same_bits(merge(stored, [tmp_path / "one.safetensors"])["w"], wanted)
    merge(stored, [tmp_path / "one.safetensors"], out=stored)
    assert oracle.same_bits(stored["w"], wanted)


def test_tied_tensors_of_files(tmp_path: Path) -> None:
    weight = torch.randn(6, 2)
    torch.save({"a": weight, "b": weight, "c": weight.T}, tmp_path / "base.pt")
    save_file({"a": weight * 2, "b": weight * 2, "c": weight.T.contiguous()}, tmp_path / "same.safetensors")
    save_file({"a": weight * 2, "b": weight * 3, "c": weight.T.contiguous()}, tmp_path / "other.safetensors")
    torch.save({"a": weight * 2, "b": (weight * 3).T.clone().T, "c": weight.T}, tmp_path / "other.pt")
    tied = {"a": weight.clone()}
    tied |= {"b": tied["a"], "c": weight.T.clone()}
    wanted = oracle.merge(weight.numpy(), [(weight * 2).numpy()])
    for base in (tmp_path / "base.pt", tied):
        merged = merge(base, [tmp_path / "same.safetensors"])
        assert oracle.same_bits(merged["a"].numpy(), wanted)
        assert merged["a"].data_ptr() == merged["b"].data_ptr() != merged["c"].data_ptr()
        for name in ("other.safetensors", "other.pt"):
            with pytest.raises(TiedTensorError, match=rf"{name}: tensor 'b': differs from 'a'"):
                merge(base, [tmp_path / "same.safetensors", tmp_path / name])
    before = tied["a"].clone()
    with pytest.raises(TiedTensorError):
        merge(tied, [tmp_path / "other.safetensors"], out=tied)
    assert torch.equal(tied["a"], before)
    merge(tied, [tmp_path / "same.safetensors"], out=tied)
    assert oracle.same_bits(tied["b"].numpy(), wanted)


def test_report_and_inspection(states: tuple[State, list[State]], tmp_path: Path) -> None:
    base, pool = states
    out = tmp_path / "out.safetensors"
    report = merge(base, pool, out=out)
    for found in (
        inspect(base, pool),
        inspect(FORMS["pt"](base, tmp_path), [FORMS["pt"](state, tmp_path) for state in pool], threads=1),
    ):
        assert found.copied == report.copied == ("steps",)
        for merged, inspected in zip(report.merged, found.merged, strict=True):
            arrays = [as_numpy(state[merged.name]) for state in (base, *pool)]
            wanted = oracle.statistics(arrays[0], arrays[1:])
            for row in (merged, inspected):
                assert (row.elements, row.kept, row.non_finite) == (
                    wanted.elements,
                    wanted.kept,
                    wanted.non_finite,
                )
                assert (row.norm, row.max_abs) == (wanted.norm_exact, wanted.max_abs)
            assert list(inspected.agreement or ()) == oracle.agreement(arrays[0], arrays[1:]).tolist()
            assert merged.agreement is None
    assert json.loads(report.to_json())["outputs"] == [str(out)]


def test_statistics_do_not_depend_on_layouts() -> None:
    base, finetuned = agreeing(np.random.default_rng(3), (70, 30, 20), F32, (F32,) * 2)
    reports = [
        inspect({"w": laid_out(base, layout)}, [{"w": laid_out(x, layout)} for x in finetuned]).merged
        for layout in LAYOUTS
    ]
    assert reports == [reports[0]] * len(LAYOUTS)


GOOD: State = {"w": torch.ones(2), "b": torch.ones(3)}


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"method": "median"}, OptionError, "negmerge, uniform"),
        ({"mode": "minus"}, OptionError, "negate, add, vector"),
        ({"scale": float("nan")}, OptionError, "finite"),
        ({"scale": "much"}, OptionError, "number"),
        ({"out_dtype": "int8"}, DtypeError, "float32"),
        ({"max_memory": "lots"}, OptionError, "max_memory.*256MiB"),
        ({"max_memory": 0}, OptionError, "max_memory"),
        ({"threads": 0}, OptionError, "threads"),
        ({"threads": True}, OptionError, "threads"),
        ({"threads": 2**40}, OptionError, "threads.*1024"),
        ({"threads": 1.5}, OptionError, "threads"),
        ({"device": "cuda:99"}, DeviceError, "'cuda:99'.*(?:CUDA|NVIDIA).*--device"),
        ({"device": torch.device("mps", 0)}, DeviceError, "'mps:0'.*cuda:k"),
        ({"overwrite": True}, OptionError, "overwrite.*path"),
        ({"verify": True, "out": dict(GOOD)}, OptionError, "verify.*path"),
        ({"resume": True}, OptionError, "resume.*path"),
        ({"include": "layers.*"}, PatternError, "layers"),
        ({"include": ["w", 3]}, OptionError, "include"),
        ({"exclude": "*"}, NothingToMergeError, "no floating-point tensor"),
    ],
)
def test_bad_options(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        merge(GOOD, [GOOD], **options)


@pytest.mark.parametrize("device", [None, "cpu", torch.device("cpu")])
def test_devices(device: object) -> None:
    assert merge(GOOD, [GOOD], device=device)["w"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ([], "empty"),
        (GOOD, "Give a list"),
        (torch.nn.Linear(2, 2), "Give a list"),
        ("model.safetensors", "Give a list"),
        (Path("model.safetensors"), "Give a list"),
        (3, "is a int"),
        (None, "is a NoneType"),
        ({"one.pt", "two.pt"}, "order"),
        ((path for path in ["one.pt"]), "is a generator"),
        ({"one": GOOD}.values(), "is a dict_values"),
    ],
)
def test_bad_pools(pool: Any, message: str) -> None:
    for call in (merge, inspect):
        with pytest.raises(PoolError, match=message):
            call(GOOD, pool)


def test_more_models_than_an_inspection_counts() -> None:
    base = {"w": torch.ones(2)}
    with pytest.raises(PoolError, match=r"65536 checkpoints.*65535.*Inspect some"):
        inspect(base, [base] * 65_536)


@pytest.mark.parametrize(
    ("finetuned", "kind"),
    [
        ({"w": torch.ones(2)}, MissingTensorError),
        ({**GOOD, "extra": torch.ones(1)}, UnexpectedTensorError),
        ({**GOOD, "w": torch.ones(2, 1)}, ShapeMismatchError),
        ({**GOOD, "w": torch.ones(2, dtype=torch.int32)}, DtypeError),
        ({**GOOD, "w": torch.ones(2, dtype=torch.complex64)}, DtypeError),
        ("absent.safetensors", CheckpointError),
    ],
)
def test_bad_checkpoints_leave_out_untouched(finetuned: Any, kind: type[Exception], tmp_path: Path) -> None:
    out = {name: torch.full_like(tensor, 9) for name, tensor in GOOD.items()}
    with pytest.raises(kind) as caught:
        merge(GOOD, [GOOD, finetuned], out=out)
    assert caught.value.path in ("finetuned[1]", "absent.safetensors")
    with pytest.raises(kind):
        merge(GOOD, [GOOD, finetuned], out=tmp_path / "out.safetensors")
    assert all((tensor == 9).all() for tensor in out.values())
    assert list(tmp_path.iterdir()) == []


def test_extra_and_missing_tensors_that_are_excluded() -> None:
    merged = merge(GOOD, [{"w": torch.zeros(2), "extra": torch.ones(1)}], exclude=["b", "extra"])
    assert merged["w"].tolist() == [2, 2]
    assert merged["b"].tolist() == [1, 1, 1]


def test_problems_of_files_and_memory_come_together(tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as caught:
        merge(GOOD, [{"w": torch.ones(2)}, tmp_path / "a.pt", {**GOOD, "b": torch.ones(4)}])
    assert [type(problem) for problem in caught.value.problems] == [
        MissingTensorError,
        CheckpointError,
        ShapeMismatchError,
    ]


@pytest.mark.parametrize("plan_or_merge", [merge, api.plan_merge])
def test_problems_of_inputs_and_output_come_together(
    plan_or_merge: Callable[..., object], tmp_path: Path
) -> None:
    good, out = on_disk(GOOD, tmp_path / "good.safetensors"), tmp_path / "out.safetensors"
    out.write_bytes(b"old")
    for base, kinds in (
        (tmp_path / "base.pt", {CheckpointError: 2, OutputExistsError: 1}),
        (good, {CheckpointError: 1, OutputExistsError: 1}),
    ):
        with pytest.raises(PreflightError) as caught:
            plan_or_merge(base, [tmp_path / "absent.pt", good], out=out)
        assert Counter(map(type, caught.value.problems)) == kinds
    with pytest.raises(PreflightError) as caught:
        plan_or_merge(good, [tmp_path / "absent.pt"], out=tmp_path / "absent" / "out.pt")
    assert [type(problem) for problem in caught.value.problems] == [CheckpointError, OutputError, OptionError]
    # Whether it is the output of the merge to be resumed cannot be known.
    with pytest.raises(CheckpointError):
        plan_or_merge(good, [tmp_path / "absent.pt"], out=out, resume=True)
    assert out.read_bytes() == b"old"


def test_too_little_room_shows_before_the_models_are_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "free_bytes", lambda folder: 10)
    for base in (GOOD, on_disk(GOOD, tmp_path / "good.safetensors")):
        with pytest.raises(PreflightError) as caught:
            merge(base, [tmp_path / "absent.pt"], out=tmp_path / "out.safetensors")
        assert [type(problem) for problem in caught.value.problems] == [CheckpointError, DiskSpaceError]


def test_problems_of_a_base_and_a_model_come_together_in_memory(tmp_path: Path) -> None:
    for call in (merge, inspect, Patch.make):
        with pytest.raises(CheckpointError) as caught:
            call(tmp_path / "base.pt", [GOOD, tmp_path / "absent.pt"])
        assert [Path(str(one.path)).name for one in caught.value.problems] == ["base.pt", "absent.pt"]


def test_more_files_than_may_be_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = [tmp_path / f"{k}.safetensors" for k in range(200)]
    for k, path in enumerate(paths):
        save_file({"w": torch.full((4,), float(k))}, path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        merged = merge({"w": torch.full((4,), -1.0)}, paths)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert merged["w"].tolist() == [-101.5] * 4


def test_the_example_in_the_docstring() -> None:
    found = doctest.testmod(api)
    assert found.attempted > 0
    assert found.failed == 0
