"""What the figures should be, and how many decimals tell whether they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True)
class Bound:
    """The least that a figure should be, or unless ``at_least`` the most; ``digits``: decimals to show."""

    value: float
    at_least: bool
    digits: int = 2

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"

    def met(self, figure: float) -> bool:
        """Whether a figure is what it should be."""
        return figure >= self.value if self.at_least else figure <= self.value

    def shown(self, figure: float, digits: int | None = None) -> str:
        """A figure with so many decimals (default: the usual), or as many more as do not round it across."""
        for many in count(self.digits if digits is None else digits):
            text = f"{figure:.{many}f}"
            if self.met(float(text)) == self.met(figure):
                break
        return text


def at_least(value: float, digits: int = 2) -> Bound:
    """A bound from below."""
    return Bound(value, True, digits)


def at_most(value: float, digits: int = 2) -> Bound:
    """A bound from above."""
    return Bound(value, False, digits)


#: How much longer than moving the same bytes at the speed of reading, or of a copy, a call may take.
OVER_BYTES = 1.1

OVER_READ_FP32, OVER_READ_FP32_MANY, OVER_READ_16_BIT = at_least(1.0), at_least(0.95), at_least(0.9)
NEW_RESULT = at_most(1.2)
STATISTICS = at_most(1.03)
TORCH = {
    "torch.stack": at_least(30, 1),
    "torch in place": at_least(15, 1),
    "torch.compile": at_least(2, 1),
    "torch.compile, new result": at_least(2, 1),
}
AVX2 = at_least(0.9)
MICROSECONDS_PER_TENSOR_AND_MODEL = at_most(0.3)
OVER_ALLOWED = at_most(1.0)
PATCH_OVER_COPY = at_most(1.2)
FILES = {"tmpfs": at_most(1.0), "cold": at_most(1.1)}
PEERS = {"mergekit linear": at_least(6, 1), "mergekit, same rule": at_least(9, 1)}
OVER_MAX_MEMORY = at_most(1.0)
OFF_THE_LINE = at_most(0.1)
HELP_SECONDS, MERGE_SECONDS = at_most(0.3), at_most(0.5)

GPU_OVER_COPY = at_least(0.95)
GPU_PEERS = {"torch.compile": at_least(1.3), "CUB": at_least(1.0), "torch.stack": at_least(10, 1)}
GPU_EXTRA_MEGABYTES = at_most(1.0)
GPU_FILES = at_most(1.2)


def over_read(dtype: str, models: int) -> Bound:
    """For the bandwidth of a merge over that of reading."""
    if dtype != "float32":
        return OVER_READ_16_BIT
    return OVER_READ_FP32 if models <= 16 else OVER_READ_FP32_MANY
