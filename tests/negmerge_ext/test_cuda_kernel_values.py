"""The CUDA kernels, run on the host, against the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import oracle
import pytest
from cuda_calls import Merges
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import check
from kernel_calls import merge as merge_on_cpu
from oracle import BF16, DTYPES, E4M3, E5M2, F16, F32, F64
from strategies import METHODS, MODES, Case, batches, cases, offsets
from values import KINDS, every_pattern, fill, hard_doubles, hard_singles

#: Dtypes that have a kernel of their own for merges in which nothing is asked for but the output.
PLAIN = (F64, F32, F16, BF16)


@examples(150)
@given(batch=batches(), offset=offsets(), histogram=st.booleans(), turned=st.booleans())
def test_any_merge(
    merge_on_cuda: Merges, batch: list[Case], offset: int, histogram: bool, turned: bool
) -> None:
    with merge_on_cuda.turned_round(turned):
        result = merge_on_cuda(batch, offset=offset, histogram=histogram)
        merge_on_cuda.check_plain(batch, offset=offset)
    check(batch, result)
    assert result.stats.tobytes() == merge_on_cpu(batch, offset=offset).stats.tobytes(), "as on the CPU"


@examples(100)
@given(batch=batches(), offset=offsets(), dtype=st.sampled_from(PLAIN))
def test_any_merge_of_one_dtype(
    merge_on_cuda: Merges, batch: list[Case], offset: int, dtype: np.dtype
) -> None:
    alike = [
        replace(
            case,
            base=oracle.convert(case.base, dtype),
            finetuned=tuple(oracle.convert(x, dtype) for x in case.finetuned),
            out_dtype=dtype,
        )
        for case in batch
    ]
    merge_on_cuda.check_plain(alike, offset=offset)
    merge_on_cuda.check_plain(alike)


@examples(60)
@given(case=cases(), offset=offsets(), alias=st.sampled_from(["base", 0, -1]))
def test_in_place(merge_on_cuda: Merges, case: Case, offset: int, alias: Literal["base"] | int) -> None:
    case = replace(case, out_dtype=(case.base if alias == "base" else case.finetuned[alias]).dtype)
    check([case], merge_on_cuda([case], offset=offset, alias=alias))
    merge_on_cuda.check_plain([case], offset=offset, alias=alias)


@pytest.mark.parametrize("base_dtype", DTYPES, ids=str)
def test_every_dtype_pair_and_output(merge_on_cuda: Merges, base_dtype: np.dtype) -> None:
    rng = np.random.default_rng(4)
    for finetuned_dtype in DTYPES:
        base, finetuned = fill(rng, "sprinkled", (1100,), base_dtype, (finetuned_dtype,) * 5)
        for i, out_dtype in enumerate(DTYPES):
            case = Case(base, finetuned, METHODS[i % 2], MODES[i % 3], 0.7, out_dtype, f"{finetuned_dtype}")
            check([case], merge_on_cuda([case], offset=i, histogram=i == 0))
            merge_on_cuda.check_plain([case], offset=i)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("models", [1, 2, 3, 4, 7, 8, 9, 31, 64])
def test_number_of_models(merge_on_cuda: Merges, models: int, kind: str) -> None:
    rng = np.random.default_rng(models)
    for dtype in PLAIN:
        base, finetuned = fill(rng, kind, (300,), dtype, (dtype,) * models)
        for method, mode in (("negmerge", "negate"), ("uniform", "vector")):
            case = Case(base, finetuned, method, mode, out_dtype=dtype, about=kind)
            check([case], merge_on_cuda([case], histogram=True))
            merge_on_cuda.check_plain([case])


def test_thousands_of_models(merge_on_cuda: Merges) -> None:
    """More than a histogram in shared memory has bins for, too."""
    rng = np.random.default_rng(5)
    for models in (1023, 1024, 5000):
        dtypes = tuple(DTYPES[1 + k % 5] for k in range(models))
        base, finetuned = fill(rng, "agreeing", (37,), BF16, dtypes)
        mixed = Case(base, finetuned, out_dtype=BF16)
        check([mixed], merge_on_cuda([mixed], histogram=True))
        base, finetuned = fill(rng, "agreeing", (37,), BF16, (BF16,) * models)
        merge_on_cuda.check_plain([Case(base, finetuned, out_dtype=BF16)])


@pytest.mark.parametrize("dtype", [F16, BF16, E4M3, E5M2], ids=str)
def test_every_short_value_is_read_right(merge_on_cuda: Merges, dtype: np.dtype) -> None:
    """The mean of one task vector that starts at zero is the value itself."""
    values = every_pattern(dtype)
    as_finetuned = Case(np.zeros(values.shape, F32), (values,), "uniform", "vector", out_dtype=F32)
    check([as_finetuned], merge_on_cuda([as_finetuned]))
    as_base = Case(values, (np.zeros(values.shape, F32),), "negmerge", "negate", 0.0, out_dtype=F64)
    check([as_base], merge_on_cuda([as_base]))
    in_double = Case(values, (np.zeros(values.shape, F64),), "uniform", "add", 1.0, out_dtype=F64)
    check([in_double], merge_on_cuda([in_double]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hard_values_are_rounded_right(merge_on_cuda: Merges, dtype: np.dtype) -> None:
    for values in (hard_singles(), hard_doubles()):
        case = Case(np.zeros(values.shape, F32), (values,), "uniform", "vector", out_dtype=dtype)
        check([case], merge_on_cuda([case]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [16 * 1024 + 16, 1000, 13])
def test_nan_payloads_that_are_not_kept_survive(merge_on_cuda: Merges, dtype: np.dtype, size: int) -> None:
    rng = np.random.default_rng(6)
    top = 2 ** (8 * dtype.itemsize) - 1
    nan = oracle.bits(np.full(size, np.nan, dtype)) | rng.integers(0, 3, size).astype(f"u{dtype.itemsize}")
    base = np.where(rng.random(size) < 0.5, nan, rng.integers(0, top, size, f"u{dtype.itemsize}")).view(dtype)
    for finetuned in (np.ones(size, F32), oracle.convert(np.ones(size, F32), dtype)):
        case = Case(base, (finetuned,), out_dtype=dtype, about=str(dtype))
        check([case], merge_on_cuda([case]))
        check([case], merge_on_cuda([case], alias="base"))
        merge_on_cuda.check_plain([case])
        merge_on_cuda.check_plain([case], alias="base")


@pytest.mark.parametrize(
    "size", [0, 1, 15, 16, 17, 4095, 4097, 8191, 8193, 16383, 16384, 16385, 3 * 16384 + 1]
)
@pytest.mark.parametrize("dtypes", [(F32, F16, F32), (F64, F64, BF16), (BF16, BF16, BF16)], ids=str)
def test_sizes_around_every_unit_of_work(
    merge_on_cuda: Merges, size: int, dtypes: tuple[np.dtype, ...]
) -> None:
    rng = np.random.default_rng(size)
    base, finetuned = fill(rng, "agreeing", (size,), dtypes[0], dtypes[1:])
    case = Case(base, finetuned, scale=0.3, about=f"{size}", out_dtype=dtypes[0])
    for offset in (0, 8):
        check([case], merge_on_cuda([case], offset=offset))
        merge_on_cuda.check_plain([case], offset=offset)


def test_statistics_alone(merge_on_cuda: Merges) -> None:
    rng = np.random.default_rng(7)
    base, finetuned = fill(rng, "sprinkled", (20_000,), BF16, (BF16, F32, BF16))
    case = Case(base, finetuned, out_dtype=BF16)
    result = merge_on_cuda([case], write=False, histogram=True)
    check([case], result, write=False)
    assert result.stats.tobytes() == merge_on_cuda([case]).stats.tobytes()


def test_statistics_of_more_blocks_than_threads(merge_on_cuda: Merges) -> None:
    base, finetuned = fill(np.random.default_rng(9), "agreeing", (300 * 16_384 + 5,), E5M2, (E5M2,))
    case = Case(base, finetuned, out_dtype=E5M2)
    check([case], merge_on_cuda([case]))
