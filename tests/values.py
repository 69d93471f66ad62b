"""Arrays worth merging: by kind, and the values at which conversions and sums go wrong."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import oracle

#: How the values of a case come about; see :func:`fill`.
KINDS = ("agreeing", "patterns", "specials", "neighbours", "huge", "sprinkled")


def fill(
    rng: np.random.Generator,
    kind: str,
    shape: tuple[int, ...],
    base_dtype: np.dtype,
    finetuned_dtypes: tuple[np.dtype, ...],
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Arrays of a case.

    agreeing: weights whose updates mostly share a sign. patterns: uniformly random bits, every NaN payload
    and denormal included. specials: only the values at which formats end. neighbours: fine-tuned values
    a few units in the last place from the base's, denormals among them. huge: sums of updates overflow.
    sprinkled: agreeing, with specials and exact zeros strewn in.
    """
    if kind == "patterns":
        return _patterns(rng, shape, base_dtype), tuple(_patterns(rng, shape, d) for d in finetuned_dtypes)
    if kind == "specials":
        return _specials(rng, shape, base_dtype), tuple(_specials(rng, shape, d) for d in finetuned_dtypes)
    if kind == "neighbours":
        return _neighbours(rng, shape, base_dtype, finetuned_dtypes)
    size = 0.2 * min(_largest(d) for d in (base_dtype, *finetuned_dtypes)) if kind == "huge" else 1.0
    base, finetuned = agreeing(rng, shape, base_dtype, finetuned_dtypes, size=size)
    if kind == "sprinkled":
        finetuned = tuple(np.where(rng.random(shape) < 0.02, _as(base, x.dtype), x) for x in finetuned)
        base, *rest = (_strew(rng, x) for x in (base, *finetuned))
        finetuned = tuple(rest)
    return base, finetuned


@np.errstate(over="ignore", invalid="ignore")
def agreeing(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    base_dtype: np.dtype,
    finetuned_dtypes: tuple[np.dtype, ...],
    *,
    size: float = 1.0,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Normal weights times ``size``, and updates that share their sign in about three elements of four."""
    start = np.asarray(rng.normal(size=shape) * size)
    shared = rng.choice([-1.0, 1.0], size=shape)
    lone = rng.random(shape) < 0.25
    finetuned = []
    for dtype in finetuned_dtypes:
        sign = np.where(lone, rng.choice([-1.0, 1.0], size=shape), shared)
        update = size * (0.01 + np.abs(rng.normal(size=shape)))
        finetuned.append(_as(start + sign * update, dtype))
    return _as(start, base_dtype), tuple(finetuned)


def specials(dtype: np.dtype) -> np.ndarray:
    """The values at which a dtype ends: ±0, denormals, largest, infinities, NaN with payloads, ones."""
    finite = _finite_patterns(dtype)
    top = 2 ** (8 * dtype.itemsize) - 1
    patterns = {0, 1, 2, *finite, top >> 1, *({} if dtype.itemsize == 1 else {(top >> 1) - 3})}
    return _signed(sorted(patterns), dtype)


def every_pattern(dtype: np.dtype) -> np.ndarray:
    """All values of an 8- or 16-bit dtype."""
    return np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)


def hard_singles() -> np.ndarray:
    """Every sign and exponent, with significands around each place where a narrower dtype is cut."""
    significands = {0, 1, 2, 2**23 - 1, 2**22}
    for cut in range(23):
        for kept in (0, 1, 2**22 >> cut, 2**23 - 1):
            significands |= {((kept >> (cut + 1) << (cut + 1)) | 1 << cut) + step for step in (-1, 0, 1)}
    low = np.array(sorted(significands), np.uint32) & (2**23 - 1)
    high = np.arange(512, dtype=np.uint32) << 23
    random = np.random.default_rng(1).integers(0, 2**32, 200_000, dtype=np.uint32)
    return np.concatenate([(high[:, None] | low).reshape(-1), random]).view(np.float32)


def hard_doubles() -> np.ndarray:
    """Singles and their neighbours in fp64, so that rounding twice differs from rounding once."""
    with np.errstate(invalid="ignore"):
        exact = hard_singles()[::7].astype(np.float64)
    beyond = np.array([1e300, -1e300, 1e-300, 5e-324, 2.0**128, -(2.0**-150), 2.0**-150 * 1.5])
    nudged = oracle.bits(exact)
    return np.concatenate(
        [exact, (nudged + 1).view(np.float64), (nudged ^ (1 << 28)).view(np.float64), beyond]
    )


def _finite_patterns(dtype: np.dtype) -> list[int]:
    """Largest denormal, smallest normal, one, its neighbour, largest finite, and the pattern after it."""
    info = ml_dtypes.finfo(dtype)
    edges = oracle.bits(np.array([info.smallest_normal, info.max, 1.0], dtype))
    normal, largest, one = (int(pattern) for pattern in edges)
    return [normal - 1, normal, one, one + 1, largest, largest + 1]


def _largest(dtype: np.dtype) -> float:
    return float(ml_dtypes.finfo(dtype).max)


def _signed(patterns: list[int], dtype: np.dtype) -> np.ndarray:
    sign = 1 << (8 * dtype.itemsize - 1)
    both = [*patterns, *(pattern | sign for pattern in patterns)]
    return np.array(both, f"u{dtype.itemsize}").view(dtype)


def _patterns(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    raw = rng.bytes(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(bytearray(raw), dtype).reshape(shape)


def _specials(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.asarray(rng.choice(oracle.bits(specials(dtype)), size=shape)).view(dtype)


def _neighbours(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    base_dtype: np.dtype,
    finetuned_dtypes: tuple[np.dtype, ...],
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    base = _as(rng.normal(size=shape) * 2.0 ** rng.integers(-150, 8, size=shape), base_dtype)
    upward = rng.random(shape) < 0.5
    finetuned = []
    for dtype in finetuned_dtypes:
        pattern = oracle.bits(_as(base, dtype))
        step = rng.integers(0, 4, size=shape).astype(pattern.dtype)
        finetuned.append(np.asarray(np.where(upward, pattern + step, pattern - step)).view(dtype))
    return base, tuple(finetuned)


def _strew(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    chosen = rng.random(x.shape) < 0.02
    return np.asarray(np.where(chosen, oracle.bits(_specials(rng, x.shape, x.dtype)), oracle.bits(x))).view(
        x.dtype
    )


def _as(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return oracle.convert(np.asarray(x), dtype)
