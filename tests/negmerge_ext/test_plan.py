from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
import torch

from negmerge_ext import dtypes
from negmerge_ext.errors import (
    CheckpointError,
    DtypeError,
    MissingTensorError,
    NothingToMergeError,
    OptionError,
    PatternError,
    PoolError,
    PreflightError,
    ShapeMismatchError,
    UnexpectedTensorError,
)
from negmerge_ext.options import RUNNING_STATISTICS, Options
from negmerge_ext.plan import make_plan
from negmerge_ext.source import TensorInfo, Unfit


@dataclass
class Metadata:
    """A source of which nothing exists but its metadata; its rows are the names asked for."""

    label: str
    tensors: Mapping[str, TensorInfo]
    unfit: Mapping[str, Unfit] = field(default_factory=dict)

    def rows(self, names: Sequence[str]) -> tuple[str, ...]:
        return (self.label, *names)


def source(label: str, **tensors: str | tuple[str, tuple[int, ...]]) -> Metadata:
    """``source("a", w="F32")`` has one tensor of shape [2, 3]; a pair gives the shape too."""
    pairs = {n: t if isinstance(t, tuple) else (t, (2, 3)) for n, t in tensors.items()}
    return Metadata(label, {name.replace("__", "."): TensorInfo(*pair) for name, pair in pairs.items()})


def selected(names: Sequence[str], **options: object) -> list[str]:
    parsed = Options.parse(**options)  # type: ignore[arg-type]
    return [name for name in names if parsed.selects(name)]


NAMES = ["w", "bn.running_mean", "running_var", "bn.weight", "bn.running_mean_of_x", "bn.num_batches_tracked"]


def test_running_statistics_are_left_out_unless_include_is_given() -> None:
    kept = ["w", "bn.weight", "bn.running_mean_of_x", "bn.num_batches_tracked"]
    assert selected(NAMES) == selected(NAMES, exclude=[]) == kept
    assert selected(NAMES, exclude="w") == kept[1:]
    assert selected(NAMES, include="*") == NAMES
    assert selected(NAMES, include="*", exclude=RUNNING_STATISTICS) == kept
    assert selected(NAMES, include="bn.*", exclude="*.running_mean") == NAMES[3:]


def test_include_and_exclude_match_whole_names_with_case() -> None:
    names = ["a.weight", "a.bias", "b.weight", "A.weight", "xa.weight"]
    assert selected(names, include="a.*") == ["a.weight", "a.bias"]
    assert selected(names, include=["*.weight"], exclude=["b.*"]) == ["a.weight", "A.weight", "xa.weight"]
    assert selected(names, include=["weight"]) == []
    assert selected(names, include=[]) == []


@pytest.mark.parametrize(
    "scale",
    [
        *(float("nan"), float("inf"), -float("inf"), 1e300, 10**400, "much", "0.5", None, [1.0], 1j, True),
        *(np.bool_(True), np.array("0.5"), np.ones(1), torch.tensor(True), torch.ones(1)),
    ],
)
def test_scale_must_be_a_finite_number(scale: object) -> None:
    with pytest.raises(OptionError, match="scale"):
        Options.parse(scale=scale)  # type: ignore[arg-type]


def test_scale_may_be_any_kind_of_number() -> None:
    assert Options.parse(scale=np.float32(0.5)).scale == 0.5  # type: ignore[arg-type]
    assert Options.parse(scale=-2).scale == -2.0
    assert Options.parse(scale=Fraction(1, 2)).scale == 0.5  # type: ignore[arg-type]
    assert Options.parse(scale=np.array(0.5)).scale == 0.5  # type: ignore[arg-type]
    assert Options.parse(scale=torch.tensor(0.5, dtype=torch.bfloat16)).scale == 0.5  # type: ignore[arg-type]


def test_unknown_words_are_refused_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="negate, add, vector"):
        Options.parse(mode="subtract")
    with pytest.raises(OptionError, match="negmerge, uniform"):
        Options.parse(method="dare")
    with pytest.raises(DtypeError, match="bfloat16"):
        Options.parse(out_dtype="int8")
    with pytest.raises(OptionError, match="exclude"):
        Options.parse(exclude=[3])  # type: ignore[list-item]
    with pytest.raises(OptionError, match="include"):
        Options.parse(include=3)  # type: ignore[arg-type]


def test_a_plan_says_what_happens_to_each_tensor() -> None:
    base = source(
        "base", w="BF16", steps="I64", bn__running_mean="F32", head=("F32", (4,)), empty=("F32", (0, 2))
    )
    first = source("one", head=("F32", (4,)), w="F32", empty=("F16", (0, 2)))
    second = source("two", w="F64", head=("F8_E4M3", (4,)), empty=("F32", (0, 2)), bn__running_mean="F64")
    plan = make_plan(base, [first, second], Options.parse())

    assert [tensor.name for tensor in plan.tensors] == ["w", "steps", "bn.running_mean", "head", "empty"]
    assert [tensor.compute for tensor in plan.tensors] == ["F64", None, None, "F32", "F32"]
    assert [tensor.out_dtype for tensor in plan.tensors] == ["BF16", "I64", "F32", "F32", "F32"]
    assert [tensor.numel for tensor in plan.tensors] == [6, 6, 6, 4, 0]
    assert plan.merged == (0, 3, 4)
    assert plan.models == 2
    assert plan.base == ("base", "w", "steps", "bn.running_mean", "head", "empty")
    assert plan.finetuned == (("one", "w", "head", "empty"), ("two", "w", "head", "empty"))
    expected = [["F32", "F32", "F16"], ["F64", "F8_E4M3", "F32"]]
    assert plan.finetuned_dtypes.tolist() == [[dtypes.CODES[name] for name in row] for row in expected]


def test_out_dtype_holds_for_merged_tensors_only() -> None:
    base = source("base", w="F32", bn__running_var="F32", ids="I32")
    plan = make_plan(base, [base], Options.parse(out_dtype="bf16"))
    assert [tensor.out_dtype for tensor in plan.tensors] == ["BF16", "F32", "I32"]
    assert [tensor.out_nbytes for tensor in plan.tensors] == [12, 24, 24]


def test_every_problem_of_every_checkpoint_is_found() -> None:
    base = source("base", a="F32", b="F32", c="F32", bn__running_mean="F32")
    short = source("short.pt", a="F32", c="I8")
    odd = source("odd.pt", a=("F32", (3, 2)), b="F32", c="F32", extra="F32", bn__running_var="F32")
    with pytest.raises(PreflightError) as caught:
        make_plan(base, [base, short, odd], Options.parse())
    found = [(type(p), p.path, p.tensor) for p in caught.value.problems]
    assert found == [
        (MissingTensorError, "short.pt", "b"),
        (DtypeError, "short.pt", "c"),
        (ShapeMismatchError, "odd.pt", "a"),
        (UnexpectedTensorError, "odd.pt", "extra"),
    ]
    assert "[3, 2]" in str(caught.value)
    assert "[2, 3]" in str(caught.value)


def test_what_is_excluded_causes_no_problem() -> None:
    base = source("base", a="F32", b="F32", c="C64")
    odd = source("odd", a="F32", b=("F32", (1,)), extra="F32")
    plan = make_plan(base, [odd], Options.parse(exclude=["[bc]", "extra"]))
    assert plan.merged == (0,)
    plan = make_plan(base, [odd], Options.parse(include=["a"]))
    assert plan.merged == (0,)


def test_equal_element_counts_do_not_make_equal_shapes() -> None:
    with pytest.raises(ShapeMismatchError):
        make_plan(source("base", w=("F32", (6,))), [source("one", w=("F32", (2, 3)))], Options.parse())


def test_sources_that_cannot_be_opened_are_listed_with_the_rest() -> None:
    base = source("base", w="F32")

    def opened(label: str) -> Metadata:
        if label == "bad":
            raise CheckpointError("is truncated", path=label)
        return base if label == "good" else source(label, v="F32")

    with pytest.raises(PreflightError) as caught:
        make_plan(base, map(opened, ["bad", "good", "other", "bad"]), Options.parse())
    kinds = [type(problem) for problem in caught.value.problems]
    assert kinds == [CheckpointError, MissingTensorError, UnexpectedTensorError, CheckpointError]


def test_an_unsupported_dtype_of_the_base_is_a_problem_not_a_copy() -> None:
    with pytest.raises(DtypeError, match="'w'"):
        make_plan(source("base", w="F8_E8M0", v="F32"), [source("one", w="F32", v="F32")], Options.parse())


def test_at_least_one_model_is_needed() -> None:
    with pytest.raises(PoolError):
        make_plan(source("base", w="F32"), [], Options.parse())


def test_at_least_one_tensor_must_be_left() -> None:
    base = source("base", w="F32", ids="I64")
    with pytest.raises(NothingToMergeError, match="base"):
        make_plan(base, [base], Options.parse(exclude="*"))


def test_an_include_pattern_must_match() -> None:
    base = source("base", w="F32")
    with pytest.raises(PatternError, match=r"head\.\*"):
        make_plan(base, [base], Options.parse(include=["w", "head.*"]))


def test_an_exclude_pattern_must_match_some_model() -> None:
    base, extra = source("base", w="F32", v="F32"), source("extra", w="F32", v="F32", lora="F32")
    assert make_plan(base, [base, extra], Options.parse(exclude=["v", "lora*"])).merged == (0,)
    with pytest.raises(PatternError, match=r"exclude.*lm_hed\.\*") as caught:
        make_plan(base, [base, extra], Options.parse(exclude=["v", "lora*", "lm_hed.*"]))
    assert caught.value.problems == ()
    later = make_plan(base, [base], Options.parse(exclude=["v", "lora*"]), more_to_come=True)
    assert later.merged == (0,)


@pytest.mark.parametrize("prefixed", ["base", "model"])
def test_a_prefix_of_all_names_is_one_problem(prefixed: str) -> None:
    shapes = {f"l{i}.weight": "F32" for i in range(50)} | {"bn.running_mean": "F32", "steps": "I64"}
    plain = source("plain", **shapes)
    wrapped = source("wrapped", **{f"module.{name}": dtype for name, dtype in shapes.items()})
    base, model = (wrapped, plain) if prefixed == "base" else (plain, wrapped)
    with pytest.raises(MissingTensorError, match=r"prefix 'module\.'.*removeprefix") as caught:
        make_plan(base, [base, model], Options.parse())
    assert (caught.value.path, caught.value.problems) == (model.label, ())


def test_long_listings_are_cut_but_say_how_much_is_left() -> None:
    base = source("base", **{f"t{i}": "F32" for i in range(50)})
    with pytest.raises(MissingTensorError) as caught:
        make_plan(base, [source("none.pt")], Options.parse())
    problems = caught.value.problems
    assert len(problems) < 30
    assert "30 more" in str(problems[-1])
    assert problems[-1].path == "none.pt"
    assert str(caught.value).startswith("50 problems found")
