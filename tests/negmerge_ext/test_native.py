"""The native interface: instruction sets, defaults, and calls that contradict themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from programs import start_program

from negmerge_ext import dtypes, native
from negmerge_ext.errors import OptionError
from negmerge_ext.stats import NATIVE_STATS

F32, F64 = dtypes.CODES["F32"], dtypes.CODES["F64"]


def call(**changes: Any) -> None:
    """A merge of one tensor of four elements with one model, with ``changes`` to its arguments."""
    base, theta, out = np.zeros(4, np.float32), np.ones(4, np.float32), np.empty(4, np.float32)
    arguments: dict[str, Any] = {
        "method": 0,
        "mode": 0,
        "scale": 1.0,
        "models": 1,
        "numel": [4],
        "compute": [F32],
        "base": [base.ctypes.data],
        "base_dtype": [F32],
        "finetuned": [theta.ctypes.data],
        "finetuned_dtype": [F32],
        "out": [out.ctypes.data],
        "out_dtype": [F32],
        "stats": np.zeros(1, NATIVE_STATS),
        "threads": 1,
    }
    native.merge(**(arguments | changes))
    assert out.tolist() == [-1.0] * 4


def test_without_keep_and_histogram() -> None:
    call()


def test_threads_of_zero_mean_the_default() -> None:
    call(threads=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": 99},
        {"mode": 3},
        {"models": 0},
        {"models": 2},
        {"numel": [4, 4]},
        {"compute": [dtypes.CODES["F16"]]},
        {"base_dtype": [77]},
        {"finetuned_dtype": [200]},
        {"finetuned_dtype": []},
        {"finetuned": [], "finetuned_dtype": []},
        {"finetuned": [0]},
        {"base": [0]},
        {"base_dtype": [F64]},
        {"finetuned_dtype": [F64]},
        {"out": []},
        {"out_dtype": [6]},
        {"keep": [0, 0]},
        {"begin": False},
        {"end": False},
        {"stats": np.zeros(2, NATIVE_STATS)},
        {"stats": np.zeros(1, np.float64)},
        {"stats": np.zeros(1, "V32")},
        {"stats": np.zeros(1, [(name, "<f8") for name in NATIVE_STATS.names])},
        {"stats": np.zeros(1, [(name, "<i8") for name in "abcd"])},
        {"stats": np.zeros(1, NATIVE_STATS.newbyteorder(">"))},
        {"histogram": np.zeros((1, 2), np.int32)},
        {"histogram": np.zeros((1, 3), np.int64)},
        {"histogram": np.zeros((1, 4), np.int64)[:, ::2]},
        {"histogram": np.zeros((1, 70_001), np.int64), "models": 70_000},
        {"threads": -1},
        {"state": native.State([], [], [])},
        {"state": native.State([1], [1], [1]), "models": 40},
    ],
    ids="-".join,
)
def test_arguments_that_contradict_each_other_raise(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (every case has a message of its own)
        call(**changes)


@pytest.mark.parametrize("missing", ["values", "positive", "negative", "counts"])
def test_every_part_of_a_state_has_an_address(missing: str) -> None:
    parts = {name: np.zeros(8, np.float32) for name in ("values", "positive", "negative", "counts")}
    address = {name: [0 if name == missing else part.ctypes.data] for name, part in parts.items()}
    histogram = np.zeros((1, 2), np.int64)
    with pytest.raises(ValueError, match="a state address is null"):
        call(state=native.State(**address), histogram=histogram)
    assert not histogram.any()


def test_numbers_of_elements_are_not_negative() -> None:
    with pytest.raises(ValueError, match="negative"):
        call(numel=[-1])


def test_statistics_are_added_to_what_is_there() -> None:
    stats, histogram = np.zeros(1, NATIVE_STATS), np.zeros((1, 2), np.int64)
    for _ in range(3):
        call(stats=stats, histogram=histogram)
    assert stats["kept"] == 12
    assert stats["sum_squares"] == 12.0
    assert stats["max_abs"] == 1.0
    assert histogram.tolist() == [[0, 12]]


def test_a_batch_of_nothing() -> None:
    empty: dict[str, Any] = {
        name: [] for name in ("numel", "compute", "base", "base_dtype", "out", "out_dtype")
    }
    native.merge(
        method=0,
        mode=0,
        scale=1.0,
        models=3,
        finetuned=[],
        finetuned_dtype=[],
        stats=np.zeros(0, NATIVE_STATS),
        **empty,
    )


def test_empty_tensors_need_no_address() -> None:
    stats = np.zeros(2, NATIVE_STATS)
    base, theta, out = np.zeros(4, np.float32), np.ones(4, np.float32), np.empty(4, np.float32)
    native.merge(
        method=0,
        mode=0,
        scale=1.0,
        models=1,
        numel=[0, 4],
        compute=[F32, F32],
        base=[0, base.ctypes.data],
        base_dtype=[F32, F32],
        finetuned=[0, theta.ctypes.data],
        finetuned_dtype=[F32, F32],
        out=[0, out.ctypes.data],
        out_dtype=[F32, F32],
        stats=stats,
    )
    assert stats["kept"].tolist() == [0, 4]
    assert out.tolist() == [-1.0] * 4


def test_plain_code_for_every_cpu_is_always_there() -> None:
    assert native.instruction_sets()[0] == "scalar"


def test_selecting(instruction_set: str) -> None:
    assert native.active_instruction_set() == instruction_set
    call()


def test_selecting_what_cannot_run_names_what_can() -> None:
    before = native.active_instruction_set()
    with pytest.raises(OptionError, match="scalar"):
        native.select_instruction_set("mmx")
    assert native.active_instruction_set() == before


def run(program: str, **environment: str) -> tuple[str, str]:
    """What a new interpreter prints, and what it complains about."""
    with start_program(program, **environment) as started:
        out, errors = started.communicate(timeout=120)
    return out, errors


SHOW = "from negmerge_ext import native; print(native.active_instruction_set())"


@pytest.mark.parametrize("name", native.instruction_sets())
def test_the_environment_forces_an_instruction_set(name: str) -> None:
    assert run(SHOW, NEGMERGE_ISA=name) == (name + "\n", "")


def test_without_a_choice_the_fastest_is_used() -> None:
    assert run(SHOW, NEGMERGE_ISA="") == (native.instruction_sets()[-1] + "\n", "")


def test_an_unknown_instruction_set_in_the_environment_is_one_clear_error() -> None:
    out, errors = run(SHOW, NEGMERGE_ISA="avx1024")
    assert out == ""
    last = errors.strip().splitlines()[-1]
    for part in ("NativeModuleError", "NEGMERGE_ISA", "'avx1024'", *native.instruction_sets()):
        assert part in last


def test_the_native_module_needs_no_torch() -> None:
    program = "import sys, negmerge_ext.native as n; print(n.default_threads(), 'torch' in sys.modules)"
    out, errors = run(program)
    threads, torch_loaded = out.split()
    assert int(threads) >= 1, errors
    assert torch_loaded == "False"


def test_default_threads_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert native.default_threads() == 3
    finally:
        torch.set_num_threads(before)
