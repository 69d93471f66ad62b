"""hypothesis strategies for merges: dtype mixes, awkward shapes, values by bit pattern, misalignment.

hypothesis draws the structure of a case and a seed; numpy fills the arrays from that seed. Cases shrink
to few models and elements while drawing stays fast at sizes where kernels change course.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import oracle
from hypothesis import strategies as st
from method_oracles import ORACLES
from oracle import DTYPES
from values import KINDS, fill

METHODS = tuple(ORACLES)
MODES = ("negate", "add", "vector")


@dataclass(frozen=True)
class Case:
    """One tensor's merge: the inputs and what is asked for."""

    base: np.ndarray = field(repr=False)
    finetuned: tuple[np.ndarray, ...] = field(repr=False)
    method: str = "negmerge"
    mode: str = "negate"
    scale: float = 1.0
    out_dtype: np.dtype = oracle.F32
    about: str = ""

    def expected(self) -> np.ndarray:
        return oracle.merge(
            self.base,
            self.finetuned,
            method=self.method,
            mode=self.mode,
            scale=self.scale,
            out_dtype=self.out_dtype,
        )

    @property
    def alone(self) -> str:
        """The method as :func:`negmerge_ext.merge` takes it, of tensors that know nothing of each other."""
        trims = ORACLES[self.method].thresholds is not None
        return f"{self.method}:per=tensor" if trims else self.method

    def thresholds(self) -> list[float]:
        """Of each model, if the method trims; otherwise none."""
        return oracle.thresholds(self.base, self.finetuned, method=self.method) or []


def sizes(largest: int = 40_000) -> st.SearchStrategy[int]:
    """Numbers of elements: small ones, and those around multiples of the widths kernels work in."""
    near = st.builds(
        lambda unit, times, off: max(0, unit * times + off),
        st.sampled_from([8, 16, 32, 64, 1024, 4096, 16384]),
        st.integers(1, 3),
        st.integers(-17, 17),
    )
    return st.one_of(st.integers(0, 70), near.filter(lambda n: n <= largest))


def shapes(largest: int = 40_000) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes from 0-d up to 4-d, empty ones included."""
    small = st.lists(st.integers(0, 9), min_size=0, max_size=4).map(tuple)
    return st.one_of(sizes(largest).map(lambda n: (n,)), small, st.sampled_from([(), (0,), (3, 0, 2)]))


def dtype_mixes(models: int) -> st.SearchStrategy[tuple[np.dtype, tuple[np.dtype, ...]]]:
    """A base dtype and one per fine-tuned tensor: all alike, two kinds, or any mix."""
    one = st.sampled_from(DTYPES)
    alike = one.map(lambda d: (d, (d,) * models))
    two = st.tuples(one, one).map(lambda pair: (pair[0], (pair[1],) * models))
    mixed = st.tuples(one, st.lists(one, min_size=models, max_size=models).map(tuple))
    return st.one_of(alike, two, mixed)


def models() -> st.SearchStrategy[int]:
    """N: mostly 1 to 9, sometimes far more than any group a kernel works in."""
    return st.one_of(st.integers(1, 9), st.sampled_from([16, 17, 70, 300]))


def scales() -> st.SearchStrategy[float]:
    """λ: ordinary ones, zeros, negative ones, ones that fp32 cannot hold exactly or at all small."""
    return st.one_of(
        st.sampled_from([1.0, 0.0, -0.0, 0.3, -1.7, 1e-40, 1e-60, 3.0e38]),
        st.floats(-4, 4, allow_nan=False),
    )


def offsets() -> st.SearchStrategy[int]:
    """Byte distance of an array from a 64-byte boundary; not always a multiple of the item size."""
    return st.one_of(st.sampled_from([0, 8, 16, 32]), st.integers(0, 63))


def cases(largest: int = 40_000) -> st.SearchStrategy[Case]:
    """One tensor's merge."""
    return batches(tensors=1, largest=largest).map(lambda batch: batch[0])


@st.composite
def batches(draw: st.DrawFn, *, tensors: int = 5, largest: int = 20_000) -> list[Case]:
    """Several tensors that one call merges: they share N, the method, the mode and the scale."""
    count = draw(models())
    method, mode = draw(st.sampled_from(METHODS)), draw(st.sampled_from(MODES))
    scale = draw(scales())
    batch = []
    for _ in range(draw(st.integers(1, tensors))):
        shape = draw(shapes(min(largest, 400_000 // count)))
        base_dtype, finetuned_dtypes = draw(dtype_mixes(count))
        kind, seed = draw(st.sampled_from(KINDS)), draw(st.integers(0, 2**32 - 1))
        base, finetuned = fill(np.random.default_rng(seed), kind, shape, base_dtype, finetuned_dtypes)
        out_dtype = draw(st.one_of(st.just(base_dtype), st.sampled_from(DTYPES)))
        mix = f"{base_dtype} <- {','.join(map(str, finetuned_dtypes[:9]))}"
        about = f"{kind} {shape} {mix} seed {seed}"
        batch.append(Case(base, finetuned, method, mode, scale, out_dtype, about))
    return batch


def partitions(total: int) -> st.SearchStrategy[list[int]]:
    """``total`` as an ordered sum; the last part may be zero (a call that only ends a merge)."""
    cuts = st.lists(st.integers(0, total), max_size=4).map(sorted)
    return cuts.map(lambda inner: [b - a for a, b in zip([0, *inner], [*inner, total], strict=True)])
