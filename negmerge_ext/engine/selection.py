"""The exact k-th smallest of magnitudes that are seen several times, from counts of some of their bits.

Bits of floating-point numbers without their sign are in the order of magnitudes, so the k-th smallest is
found like a word in a dictionary: a count of the highest bits tells which they are, a count of the next ones,
among the numbers that have these, tells them, and so on. No number is kept or sorted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: (shift, bits) of the digits of a magnitude, the highest first: of an fp32 number and of an fp64 number.
NARROW = ((15, 16), (0, 15))
WIDE = ((47, 16), (31, 16), (15, 16), (0, 15))

#: Bytes of the counts of one digit.
COUNTS_BYTES = 8 << 16


class Selection:
    """The k-th smallest magnitude of each of several models, digit by digit.

    ranks: k of each model, from 1 on. wide: whether magnitudes are fp64 numbers, otherwise fp32. For every
    one of :attr:`digits`, give :meth:`narrow` the counts of all magnitudes that begin with :attr:`prefixes`.
    """

    def __init__(self, ranks: Sequence[int], *, wide: bool) -> None:
        self.digits = WIDE if wide else NARROW
        self.prefixes = [0] * len(ranks)
        self._ranks = list(ranks)

    def narrow(self, counts: np.ndarray) -> None:
        """Take one digit of every model. counts: int64 ``[models, 2 ** bits]``."""
        bits = counts.shape[1].bit_length() - 1
        for model, rank in enumerate(self._ranks):
            upto = np.cumsum(counts[model])
            digit = int(np.searchsorted(upto, rank))
            self.prefixes[model] = self.prefixes[model] << bits | digit
            self._ranks[model] = rank - (int(upto[digit - 1]) if digit else 0)

    @property
    def found(self) -> np.ndarray:
        """float64 ``[models]``: the magnitudes, when all digits were taken."""
        if self.digits is WIDE:
            return np.array(self.prefixes, np.uint64).view(np.float64)
        with np.errstate(invalid="ignore"):  # a NaN may be a signalling one
            return np.array(self.prefixes, np.uint32).view(np.float32).astype(np.float64)


def rank_of_threshold(numel: int, density: float) -> int:
    """Which magnitude of ``numel`` ones, by ascending order from 1 on, is the smallest of those to look at.

    0 if that is all of them. As TIES-Merging's own code counts, one more than ``density`` says.
    """
    return numel - int(numel * density)


def rounded_up(values: np.ndarray) -> np.ndarray:
    """float64 values rounded up to fp32 numbers, which the same fp32 numbers reach."""
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        above = np.nextafter(single, np.float32(np.inf))  # of the largest number: infinity
    return np.where(single.astype(np.float64) < values, above, single).astype(np.float64)
