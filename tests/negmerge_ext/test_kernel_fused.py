"""Merges of one dtype: any number of models, whole and broken packs and tiles, output past the caches."""

from __future__ import annotations

import itertools
from typing import Literal

import ml_dtypes
import numpy as np
import pytest
import tuning
from kernel_calls import check, merge
from oracle import BF16, F16, F32, F64
from strategies import METHODS, MODES, Case
from values import KINDS, every_pattern, fill, specials

from negmerge_ext import native

DTYPES = [F32, F64, F16, BF16]

#: Bytes above which a merge writes its output past the caches.
STREAMED = tuning.size("kStreamBytes")


def case_of(
    kind: str, numel: int, dtype: np.dtype, models: int, method: str, mode: str, scale: float = 0.75
) -> Case:
    base, finetuned = fill(np.random.default_rng(models), kind, (numel,), dtype, (dtype,) * models)
    return Case(base, finetuned, method, mode, scale, dtype, f"{models} models of {numel} {dtype}")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_numbers_of_models(instruction_set: str, dtype: np.dtype, method: str) -> None:
    for models in (*range(1, 11), 15, 16, 17, 31):
        for kind in ("agreeing", "sprinkled"):
            case = case_of(kind, 1500, dtype, models, method, MODES[models % len(MODES)])
            check([case], merge([case]))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes_around_packs_tiles_and_blocks(instruction_set: str, dtype: np.dtype) -> None:
    around_a_block = [native.BLOCK + more for more in (-1, 0, 16, 32, 33)]
    for numel in (1, 15, 16, 17, 31, 32, 33, 48, 1023, 1024, 1040, *around_a_block):
        for models in (3, 9):
            case = case_of("sprinkled", numel, dtype, models, "negmerge", "negate")
            check([case], merge([case], offset=numel % 64))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_kinds_of_values(instruction_set: str, dtype: np.dtype, kind: str) -> None:
    for models, mode, scale in itertools.product((1, 2, 9), MODES, (0.0, -0.0, 0.75, -3e4)):
        case = case_of(kind, 1500, dtype, models, "negmerge", mode, scale)
        check([case], merge([case]))


@pytest.mark.parametrize("models", [2, 12])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_one_call_and_several_agree(instruction_set: str, dtype: np.dtype, models: int) -> None:
    case = case_of("sprinkled", 5003, dtype, models, "negmerge", "add")
    assert merge([case]).same_as(merge([case], groups=[1, models - 1]))


@pytest.mark.parametrize("models", [2, 12])
@pytest.mark.parametrize("alias", ["base", 0])
def test_in_place(instruction_set: str, alias: Literal["base"] | int, models: int) -> None:
    for dtype in DTYPES:
        case = case_of("sprinkled", 5003, dtype, models, "negmerge", "negate")
        check([case], merge([case], alias=alias))


@pytest.mark.parametrize("models", [9, 17])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_several_sweeps_over_several_blocks(instruction_set: str, dtype: np.dtype, models: int) -> None:
    """Sums of one group of models wait for the next, while the output may lie where any input does."""
    case = case_of("sprinkled", native.BLOCK * 3 // 2 + 1029, dtype, models, "negmerge", "negate")
    check([case], merge([case], offset=1))
    for alias in ("base", 0, models // 2, -1):
        check([case], merge([case], alias=alias))
    check([case], merge([case], write=False), write=False)


@pytest.mark.parametrize("mode", MODES)
def test_statistics_alone(instruction_set: str, mode: str) -> None:
    case = case_of("sprinkled", 5003, BF16, 4, "negmerge", mode)
    check([case], merge([case], write=False), write=False)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_without_statistics(instruction_set: str, dtype: np.dtype, mode: str) -> None:
    for models in (2, 11):
        case = case_of("sprinkled", 5003, dtype, models, "negmerge", mode)
        whole, bare = merge([case]), merge([case], statistics=False)
        assert np.array_equal(whole.out[0].view(np.uint8), bare.out[0].view(np.uint8))
        assert np.array_equal(whole.keep[0], bare.keep[0])
        assert bare.stats == np.zeros(1, bare.stats.dtype)


@pytest.mark.parametrize("models", [1, 2, 3, 9])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("finite", [True, False], ids=["finite", "any"])
def test_every_sign_of_differences(instruction_set: str, dtype: np.dtype, models: int, finite: bool) -> None:
    """Zeros, denormals, infinities and NaN of both signs among numbers on either side of the base.

    An element that is not finite takes its neighbours out of the usual way, so the others come alone, too.
    """
    positive = np.array([0.0, ml_dtypes.finfo(dtype).smallest_subnormal, 0.5, 1.0, np.inf, np.nan], F64)
    if finite:
        positive = positive[:4]
    kinds = np.concatenate([positive, -positive])
    first, second, third, base = np.meshgrid(kinds, kinds, kinds, [*kinds, 0.75, -0.75], indexing="ij")
    for like in (first, second):  # what the models beyond the third hold
        values = [first, second, third, *(like,) * models][:models]
        finetuned = tuple(value.ravel().astype(dtype) for value in values)
        for method in METHODS:
            for mode in MODES:
                case = Case(base.ravel().astype(dtype), finetuned, method, mode, 0.5, dtype, "signs")
                check([case], merge([case]))
                if models > 1:
                    assert merge([case]).same_as(merge([case], groups=[1, models - 1]))


@pytest.mark.parametrize("dtype", [F16, BF16], ids=str)
def test_every_short_value_over_every_kind_of_base(instruction_set: str, dtype: np.dtype) -> None:
    values = every_pattern(dtype)
    for start in specials(dtype):
        for finetuned in ((values,), (values, values[::-1].copy())):
            case = Case(np.full_like(values, start), finetuned, scale=0.5, out_dtype=dtype, about=str(start))
            check([case], merge([case]))


@pytest.mark.parametrize(
    ("dtype", "models", "offset", "method", "mode"),
    [
        *((F32, 1, offset, "negmerge", "negate") for offset in (0, 1, 4)),
        (F64, 1, 0, "negmerge", "negate"),
        (F32, 9, 4, "negmerge", "negate"),
        *((BF16, 9, offset, "negmerge", "negate") for offset in (0, 1)),
        *((F16, 2, offset, "negmerge", "negate") for offset in (0, 1)),
        (BF16, 2, 0, "negmerge", "vector"),
        (BF16, 2, 0, "uniform", "add"),
    ],
    ids=str,
)
def test_large_output(
    instruction_set: str, dtype: np.dtype, models: int, offset: int, method: str, mode: str
) -> None:
    """Past the caches goes what is written in pieces, of packs with nothing to keep and with NaN, too."""
    row = 4096
    numel = STREAMED // dtype.itemsize // row * row + 37
    base = np.resize(np.random.default_rng(3).standard_normal(70_001).astype(dtype), numel)
    theta = np.resize(np.random.default_rng(4).standard_normal(90_001).astype(dtype), numel)
    in_rows = theta[:-37].reshape(-1, row)
    in_rows[:, :64] = base[:-37].reshape(-1, row)[:, :64]
    in_rows[::16, 100] = np.nan
    other = theta.copy()
    other[::3] = base[::3]
    finetuned = (theta, other, *(theta,) * models)[:models]
    case = Case(base, finetuned, method, mode, 0.5, dtype, "large")
    large = merge([case], threads=2, offset=offset)
    in_pieces = merge([case], threads=2, offset=offset, cut=64 * native.BLOCK)
    assert large.same_as(in_pieces)
    assert merge([case], threads=2, offset=offset, alias="base").same_as(large)
