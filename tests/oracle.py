"""What a merge must give, in numpy: the definition that every test compares with.

Written from the formulas alone and slow on purpose: one element-wise numpy operation per rounding, no
code shared with the product. Arrays may have any shape and the dtypes float64, float32, float16,
``ml_dtypes`` bfloat16, float8_e4m3fn or float8_e5m2, in any mix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import ml_dtypes
import numpy as np
from method_oracles import ORACLES

F64 = np.dtype(np.float64)
F32 = np.dtype(np.float32)
F16 = np.dtype(np.float16)
BF16 = np.dtype(ml_dtypes.bfloat16)
E4M3 = np.dtype(ml_dtypes.float8_e4m3fn)
E5M2 = np.dtype(ml_dtypes.float8_e5m2)

#: Every dtype that can be merged.
DTYPES = (F64, F32, F16, BF16, E4M3, E5M2)

#: Elements of a block, those of a tile, and lanes of both in the definition of the norm.
BLOCK = 16384
TILE = 1024
LANES = 16

_BITS = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16), 4: np.dtype(np.uint32), 8: np.dtype(np.uint64)}


@dataclass(frozen=True)
class Statistics:
    """Of one merged tensor; ``norm`` is correctly rounded, ``norm_exact`` follows the defined order."""

    elements: int
    kept: int
    non_finite: int
    norm: float
    norm_exact: float
    sum_squares: float
    max_abs: float


def bits(x: np.ndarray) -> np.ndarray:
    """The bit patterns of ``x`` as unsigned integers, same shape."""
    packed = np.ascontiguousarray(x).reshape(x.shape)
    return packed.view(_BITS[x.dtype.itemsize])


def canonical_bits(x: np.ndarray) -> np.ndarray:
    """:func:`bits` with every NaN replaced by one pattern (all ones)."""
    pattern = bits(x)
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(x), np.iinfo(pattern.dtype).max, pattern)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal dtype, shape and bits, where any NaN equals any other NaN."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(canonical_bits(a), canonical_bits(b))


def convert(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """``x`` rounded to nearest even in ``dtype``; fp64 goes to 16 and 8 bits through fp32.

    e4m3fn has no infinity and saturates at 448; all others overflow to infinity. A NaN stays a NaN.
    """
    if x.dtype == dtype:
        return x.copy()
    with np.errstate(all="ignore"):
        if dtype == F64:
            return np.asarray(x.astype(F64))
        single = np.asarray(x.astype(F32))
    return single if dtype == F32 else _round_to_table(single, dtype)


def compute_dtype(arrays: Sequence[np.ndarray]) -> np.dtype:
    """The compute type C: fp64 if any input is fp64, else fp32."""
    return F64 if any(array.dtype == F64 for array in arrays) else F32


def deltas(base: np.ndarray, finetuned: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The task vectors C(θ_k) − C(θ₀), one array of dtype C per fine-tuned model."""
    dtype = compute_dtype([base, *finetuned])
    start = convert(base, dtype)
    with np.errstate(all="ignore"):
        return [np.subtract(convert(theta, dtype), start, dtype=dtype) for theta in finetuned]


def task_vector(
    base: np.ndarray,
    finetuned: Sequence[np.ndarray],
    *,
    method: str = "negmerge",
    limits: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The merged task vector τ in C, and the mask of the elements that entered it.

    limits: the models' thresholds of a method that trims; default: :func:`thresholds`.
    """
    vector, keep, _ = _merged(base, finetuned, method, limits)
    return vector, keep


def thresholds(base: np.ndarray, finetuned: Sequence[np.ndarray], *, method: str) -> list[float] | None:
    """What the differences of each model must reach, if the method trims; of this tensor alone."""
    find = ORACLES[method].thresholds
    return None if find is None else find(deltas(base, finetuned))


def merge(
    base: np.ndarray,
    finetuned: Sequence[np.ndarray],
    *,
    method: str = "negmerge",
    mode: str = "negate",
    scale: float = 1.0,
    out_dtype: np.dtype | None = None,
    limits: Sequence[float] | None = None,
) -> np.ndarray:
    """The merged tensor in ``out_dtype`` (default: the base's)."""
    dtype = base.dtype if out_dtype is None else np.dtype(out_dtype)
    vector, keep = task_vector(base, finetuned, method=method, limits=limits)
    if mode == "vector":
        return convert(vector, dtype)
    return apply(base, vector, keep, mode=mode, scale=scale, out_dtype=dtype)


def apply(
    base: np.ndarray,
    vector: np.ndarray,
    keep: np.ndarray,
    *,
    mode: str,
    scale: float,
    out_dtype: np.dtype | None = None,
) -> np.ndarray:
    """base ∓ scale · vector where ``keep``, the base's own value elsewhere; C is the vector's dtype."""
    compute = vector.dtype
    dtype = base.dtype if out_dtype is None else np.dtype(out_dtype)
    combine = {"negate": np.subtract, "add": np.add}[mode]
    with np.errstate(all="ignore"):
        step = np.multiply(np.asarray(scale, F64).astype(compute), vector, dtype=compute)
        moved = combine(convert(base, compute), step, dtype=compute)
    chosen = np.where(keep, bits(convert(moved, dtype)), bits(convert(base, dtype)))
    return np.asarray(chosen).view(dtype)


def statistics(
    base: np.ndarray,
    finetuned: Sequence[np.ndarray],
    *,
    method: str = "negmerge",
    limits: Sequence[float] | None = None,
) -> Statistics:
    """The statistics that the merge reports of τ."""
    vector, keep, strange = _merged(base, finetuned, method, limits)
    with np.errstate(all="ignore"):
        flat = vector.reshape(-1).astype(F64)
        squares = flat * flat
    total = norm_squared(squares)
    largest = np.abs(flat[~np.isnan(flat)])
    return Statistics(
        elements=base.size,
        kept=int(keep.sum()),
        non_finite=int(strange.sum()),
        norm=_correctly_rounded_norm(squares),
        norm_exact=math.sqrt(total),
        sum_squares=total,
        max_abs=float(largest.max(initial=0.0)),
    )


def norm_squared(squares: np.ndarray) -> float:
    """Σ of fp64 ``squares`` in the defined order: blocks of tiles, in 16 lanes that are added as a tree."""
    total = np.float64(0.0)
    with np.errstate(all="ignore"):
        for start in range(0, squares.size, BLOCK):
            elements = squares[start : start + BLOCK]
            block = np.zeros(-(-elements.size // TILE) * TILE)
            block[: elements.size] = elements
            lanes = np.zeros(LANES)
            for tile in block.reshape(-1, TILE // LANES, LANES):
                sums = np.zeros(LANES)
                for row in tile:
                    sums = sums + row
                lanes = lanes + sums
            while lanes.size > 1:
                half = lanes.size // 2
                lanes = lanes[:half] + lanes[half:]
            total = total + lanes[0]
    return float(total)


def agreement(base: np.ndarray, finetuned: Sequence[np.ndarray]) -> np.ndarray:
    """int64 [N + 1]: elements by the size of their larger sign camp (zeros and NaN are in neither)."""
    vectors = deltas(base, finetuned)
    positive = sum((vector > 0).astype(np.int64) for vector in vectors)
    negative = sum((vector < 0).astype(np.int64) for vector in vectors)
    camp = np.maximum(positive, negative).reshape(-1)
    return np.bincount(camp, minlength=len(finetuned) + 1).astype(np.int64)


def _merged(
    base: np.ndarray, finetuned: Sequence[np.ndarray], method: str, limits: Sequence[float] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    oracle, vectors = ORACLES[method], deltas(base, finetuned)
    if limits is None and oracle.thresholds is not None:
        limits = oracle.thresholds(vectors)
    return oracle.merged(vectors, limits or [])


def _correctly_rounded_norm(squares: np.ndarray) -> float:
    if np.isnan(squares).any():
        return math.nan
    if np.isinf(squares).any():
        return math.inf
    try:
        return math.sqrt(math.fsum(squares))
    except OverflowError:
        return math.inf


@cache
def _table(dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Of a small dtype: the midpoints between neighbouring values ≥ 0, and the pattern each step leads to.

    Non-negative patterns ascend with their values. Where infinity follows the largest finite value, it
    stands one more step away, which is how IEEE 754 rounds to it.
    """
    patterns = np.arange(2 ** (8 * dtype.itemsize - 1), dtype=_BITS[dtype.itemsize])
    with np.errstate(invalid="ignore"):
        values = patterns.view(dtype).astype(F64)
    finite = values[np.isfinite(values)]
    steps = finite if dtype == E4M3 else np.append(finite, 2 * finite[-1] - finite[-2])
    return (steps[:-1] + steps[1:]) / 2, patterns[: steps.size]


def _round_to_table(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    midpoints, patterns = _table(dtype)
    with np.errstate(invalid="ignore"):
        magnitude = np.abs(x.astype(F64)).reshape(-1)
    index = np.searchsorted(midpoints, magnitude, side="left")
    tie = midpoints[np.minimum(index, midpoints.size - 1)] == magnitude
    pattern = patterns[index + (tie & (index % 2 == 1))]
    pattern[np.isnan(magnitude)] = patterns.dtype.type(2 ** (8 * dtype.itemsize - 1) - 1)
    sign = np.signbit(x).reshape(-1).astype(pattern.dtype) << (8 * dtype.itemsize - 1)
    return (pattern | sign).view(dtype).reshape(x.shape)
