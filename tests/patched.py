"""Patched tensors for kernel calls, and where their kept elements stand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import oracle
from buffers import Buffer
from kernel_calls import code, packed_bits
from oracle import DTYPES
from values import fill

from negmerge_ext import native
from negmerge_ext.native import Position
from negmerge_ext.options import MODES

BASE = Position(base=True)


def at(scale: float, mode: str = "negate") -> Position:
    return Position(base=False, mode=MODES[mode], scale=scale)


class Patched:
    """One tensor and its vector on guarded buffers."""

    def __init__(self, base: np.ndarray, vector: np.ndarray, keep: np.ndarray, offset: int = 0) -> None:
        """Arrays begin at multiples of their item size if ``offset`` is a multiple of 8."""
        self.base, self.vector, self.keep = base, vector, keep
        self.elements = Buffer(base, offset)
        self.bits = Buffer(packed_bits(keep), (offset * 3) % 64)
        self.values = Buffer(vector[keep], (offset * 5) % 64)
        self.remembered = Buffer.unwritten(int(keep.sum()), base.dtype, (offset * 7) % 64)
        self.kept_before = native.kept_before(base.size, self.bits.address)

    @property
    def row(self) -> tuple[int, ...]:
        buffers = (self.elements, self.bits, self.values, self.remembered)
        addresses = [buffer.address for buffer in buffers]
        codes = (code(self.base.dtype), code(self.vector.dtype))
        return (*addresses, self.kept_before.ctypes.data, self.base.size, *codes)

    def expected(self, position: Position) -> np.ndarray:
        if position.base:
            return self.base
        (mode,) = (name for name, number in MODES.items() if number == position.mode)
        return oracle.apply(self.base, self.vector, self.keep, mode=mode, scale=position.scale)

    def check(self, position: Position) -> None:
        found = self.elements.array()
        assert oracle.same_bits(found, self.expected(position))
        assert np.array_equal(oracle.bits(found)[~self.keep], oracle.bits(self.base)[~self.keep])
        for buffer in (self.elements, self.bits, self.values, self.remembered):
            buffer.check_guards()


def rows(tensors: Sequence[Patched]) -> np.ndarray:
    return np.array([tensor.row for tensor in tensors], native.PATCHED)


def some_tensors(
    seed: int, numels: Sequence[int] = (0, 5, 40_003, 1, 16_384, 16), step: int = 5
) -> list[Patched]:
    """Tensors of all dtypes, with any number of elements kept, each ``step`` bytes further off."""
    rng = np.random.default_rng(seed)
    tensors = []
    for number, numel in enumerate(numels):
        dtype = DTYPES[(seed + number) % len(DTYPES)]
        base, finetuned = fill(rng, "neighbours", (numel,), dtype, (dtype,))
        vector, keep = oracle.task_vector(base, finetuned)
        tensors.append(Patched(base, vector, keep & (rng.random(numel) < rng.random()), offset=number * step))
    return tensors
