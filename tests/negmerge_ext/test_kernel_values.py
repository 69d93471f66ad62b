"""The native merge against the oracle, on every instruction set of this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import oracle
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st
from kernel_calls import check, instruction_sets_in_turn, merge
from oracle import BF16, DTYPES, E4M3, E5M2, F16, F32, F64
from strategies import METHODS, MODES, Case, batches, cases, offsets
from values import KINDS, every_pattern, fill, hard_doubles, hard_singles


@examples(100)
@given(batch=batches(), offset=offsets(), threads=st.sampled_from([1, 2, 5]), histogram=st.booleans())
def test_any_merge(batch: list[Case], offset: int, threads: int, histogram: bool) -> None:
    for _ in instruction_sets_in_turn():
        check(batch, merge(batch, offset=offset, threads=threads, histogram=histogram))


@examples(40)
@given(case=cases(), offset=offsets(), alias=st.sampled_from(["base", 0, -1]))
def test_in_place(case: Case, offset: int, alias: Literal["base"] | int) -> None:
    case = replace(case, out_dtype=(case.base if alias == "base" else case.finetuned[alias]).dtype)
    for _ in instruction_sets_in_turn():
        check([case], merge([case], offset=offset, alias=alias))


@pytest.mark.parametrize("base_dtype", DTYPES, ids=str)
def test_every_dtype_pair_and_output(instruction_set: str, base_dtype: np.dtype) -> None:
    rng = np.random.default_rng(4)
    for finetuned_dtype in DTYPES:
        base, finetuned = fill(rng, "sprinkled", (1100,), base_dtype, (finetuned_dtype,) * 3)
        for i, out_dtype in enumerate(DTYPES):
            case = Case(base, finetuned, METHODS[i % 2], MODES[i % 3], 0.7, out_dtype, f"{finetuned_dtype}")
            check([case], merge([case], offset=i, histogram=i == 0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [1, 2, 3, 4, 7, 8, 9, 64])
def test_number_of_models(instruction_set: str, models: int, kind: str) -> None:
    rng = np.random.default_rng(models)
    base, finetuned = fill(rng, kind, (1300,), F32, (F32,) * models)
    for method, mode in (("negmerge", "negate"), ("uniform", "vector")):
        case = Case(base, finetuned, method, mode, about=kind)
        check([case], merge([case]))
        check([case], merge([case], histogram=True))


def test_thousands_of_models(instruction_set: str) -> None:
    rng = np.random.default_rng(5)
    base, finetuned = fill(rng, "agreeing", (37,), BF16, tuple(DTYPES[1 + k % 5] for k in range(4096)))
    everywhere = tuple(np.abs(x) + oracle.convert(np.float32(9), x.dtype) for x in finetuned)
    case = Case(
        base, tuple(x.astype(y.dtype) for x, y in zip(everywhere, finetuned, strict=True)), out_dtype=F32
    )
    result = merge([case], threads=2)
    assert result.stats["kept"] == 37
    check([case], result)
    mixed = Case(base, finetuned, out_dtype=BF16)
    check([mixed], merge([mixed], histogram=True))


@pytest.mark.parametrize("dtype", [F16, BF16, E4M3, E5M2], ids=str)
def test_every_short_value_is_read_right(instruction_set: str, dtype: np.dtype) -> None:
    """The mean of one task vector that starts at zero is the value itself."""
    values = every_pattern(dtype)
    as_finetuned = Case(np.zeros(values.shape, F32), (values,), "uniform", "vector", out_dtype=F32)
    check([as_finetuned], merge([as_finetuned]))
    as_base = Case(values, (np.zeros(values.shape, F32),), "negmerge", "negate", 0.0, out_dtype=F64)
    check([as_base], merge([as_base]))
    in_double = Case(values, (np.zeros(values.shape, F64),), "uniform", "add", 1.0, out_dtype=F64)
    check([in_double], merge([in_double]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hard_values_are_rounded_right(instruction_set: str, dtype: np.dtype) -> None:
    for values in (hard_singles(), hard_doubles()):
        case = Case(np.zeros(values.shape, F32), (values,), "uniform", "vector", out_dtype=dtype)
        check([case], merge([case]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [16 * 1024 + 16, 1000, 13])
def test_nan_payloads_that_are_not_kept_survive(instruction_set: str, dtype: np.dtype, size: int) -> None:
    """Out of place, in place, as packed whole registers and as a tail."""
    rng = np.random.default_rng(6)
    top = 2 ** (8 * dtype.itemsize) - 1
    nan = oracle.bits(np.full(size, np.nan, dtype)) | rng.integers(0, 3, size).astype(f"u{dtype.itemsize}")
    base = np.where(rng.random(size) < 0.5, nan, rng.integers(0, top, size, f"u{dtype.itemsize}")).view(dtype)
    signalling = {F16: 0x7C01, BF16: 0x7F81, E5M2: 0x7D, F32: 0x7F800001, F64: 0x7FF0000000000001}
    if dtype in signalling:
        oracle.bits(base)[::7] = signalling[dtype]
    alike = oracle.convert(np.ones(size, F32), dtype)
    for finetuned in ((np.ones(size, F32),), (alike,), (alike,) * 9):
        case = Case(base, finetuned, out_dtype=dtype, about=str(dtype))
        check([case], merge([case]))
        check([case], merge([case], alias="base"))


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1023, 1024, 1025, 16383, 16384, 16385, 3 * 16384 + 1])
def test_sizes_around_every_unit_of_work(instruction_set: str, size: int) -> None:
    rng = np.random.default_rng(size)
    base, finetuned = fill(rng, "agreeing", (size,), F32, (F32, F16, F32))
    case = Case(base, finetuned, scale=0.3, about=f"{size}")
    check([case], merge([case], threads=2, offset=4))


def test_statistics_alone(instruction_set: str) -> None:
    rng = np.random.default_rng(7)
    base, finetuned = fill(rng, "sprinkled", (20_000,), BF16, (BF16, F32, BF16))
    case = Case(base, finetuned, out_dtype=BF16)
    result = merge([case], write=False, histogram=True)
    check([case], result, write=False)
    assert result.stats.tobytes() == merge([case]).stats.tobytes()


@examples(40)
@given(case=cases(largest=5000))
def test_norm_is_that_of_the_written_vector(case: Case) -> None:
    """A plain property of the result, whatever the order in which the squares are added."""
    compute = oracle.compute_dtype([case.base, *case.finetuned])
    case = replace(case, mode="vector", out_dtype=compute)
    result = merge([case])
    vector = result.out[0].astype(np.float64)
    assume(np.isfinite(vector).all())
    assume((np.abs(vector[vector != 0]) > 1e-150).all() and (np.abs(vector) < 1e150).all())
    assert np.sqrt(result.stats["sum_squares"][0]) == pytest.approx(float(np.linalg.norm(vector)), rel=1e-12)
    assert result.stats["max_abs"][0] == np.abs(vector).max(initial=0.0)
