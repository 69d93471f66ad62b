"""The oracle itself: its conversions against torch's, its formulas against arithmetic done by hand."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import oracle
import pytest
from oracle import BF16, DTYPES, E4M3, E5M2, F16, F32, F64
from values import every_pattern, hard_doubles, hard_singles

torch = pytest.importorskip("torch")

TORCH = {
    F64: torch.float64,
    F32: torch.float32,
    F16: torch.float16,
    BF16: torch.bfloat16,
    E4M3: torch.float8_e4m3fn,
    E5M2: torch.float8_e5m2,
}
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def by_torch(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    raw = x.view(f"i{x.dtype.itemsize}" if x.dtype.itemsize > 1 else "u1")
    converted = torch.from_numpy(raw).view(TORCH[x.dtype]).to(TORCH[dtype])
    return converted.view(INTEGERS[dtype.itemsize]).numpy().view(dtype)


def test_same_bits_tells_zeros_apart_but_not_nans() -> None:
    payloads = np.array([0x7FC00000, 0xFFC12345], np.uint32).view(np.float32)
    assert oracle.same_bits(payloads[:1], payloads[1:])
    assert not oracle.same_bits(np.array([0.0]), np.array([-0.0]))
    assert not oracle.same_bits(np.array([0.0]), np.array([0.0], np.float32))
    assert not oracle.same_bits(np.zeros(2), np.zeros((2, 1)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("source", [F16, BF16, E4M3, E5M2], ids=str)
def test_convert_agrees_with_torch_on_every_short_pattern(source: np.dtype, dtype: np.dtype) -> None:
    x = every_pattern(source)
    assert oracle.same_bits(oracle.convert(x, dtype), by_torch(x, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_convert_agrees_with_torch_on_hard_singles(dtype: np.dtype) -> None:
    x = hard_singles()
    assert oracle.same_bits(oracle.convert(x, dtype), by_torch(x, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_convert_agrees_with_torch_on_hard_doubles(dtype: np.dtype) -> None:
    x = hard_doubles()
    assert oracle.same_bits(oracle.convert(x, dtype), by_torch(x, dtype))


def test_rules_of_the_special_values() -> None:
    inf, nan, zero = np.float32(np.inf), np.float32(np.nan), np.float32(0)
    base = np.array([1, 1, 1, inf, -inf, nan, -zero, zero, 2], np.float32)
    theta = np.array([inf, -inf, nan, inf, 1, 1, zero, -zero, 2], np.float32)
    vector, keep = oracle.task_vector(base, [theta])
    assert keep.tolist() == [True, True, False, False, True, False, False, False, False]
    assert vector.tolist() == [inf, -inf, 0, 0, inf, 0, 0, 0, 0]
    merged = oracle.merge(base, [theta])
    expected = np.array([-inf, inf, 1, inf, -inf, nan, -zero, zero, 2], np.float32)
    assert oracle.same_bits(merged, expected)
    assert oracle.statistics(base, [theta]).non_finite == 6
    assert oracle.agreement(base, [theta]).tolist() == [6, 3]


def test_merge_rounds_after_every_operation() -> None:
    """Against exact rationals, rounded to fp32 after each operation of the formula and nowhere else."""
    rng = np.random.default_rng(2)
    base = rng.normal(size=64).astype(F32)
    pool = [base + np.abs(rng.normal(size=64)).astype(F32) for _ in range(7)]
    merged = oracle.merge(base, pool, scale=0.3)

    def rounded(value: Fraction) -> Fraction:
        return Fraction(float(np.float32(float(value))))

    for i in range(64):
        start = Fraction(float(base[i]))
        total = Fraction(0)
        for theta in pool:
            total = rounded(total + rounded(Fraction(float(theta[i])) - start))
        step = rounded(rounded(total / 7) * Fraction(float(np.float32(0.3))))
        assert float(merged[i]) == float(rounded(start - step))


def test_norms_agree() -> None:
    rng = np.random.default_rng(3)
    base = np.zeros(3 * oracle.BLOCK + 77, F32)
    theta = rng.normal(size=base.size).astype(F32)
    found = oracle.statistics(base, [theta])
    assert found.norm_exact == pytest.approx(found.norm, rel=1e-14)
    assert found.max_abs == np.abs(theta).max()
