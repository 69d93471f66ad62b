"""What each tensor of a plan needs of a streaming merge: which bytes are read, which pass through buffers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import dtypes
from ..checkpoint.base import FileRows
from ..plan import Plan
from .sinks import Wants

#: Bits per element by native dtype code.
CODE_BITS = np.array([dtypes.BITS[name] for name in sorted(dtypes.CODES, key=dtypes.CODES.__getitem__)])


@dataclass(frozen=True, slots=True)
class Needs:
    """Per tensor of the plan.

    numel: int64, elements. wanted: bool, whether the sink gets it. merged: bool. The others are int64, bits
    per element. item: of the base's tensor; out_item: of the output's. output: of a buffer for the output
    (0: the sink has memory for it, or takes none). base: of a buffer for the base (0: it is in memory, or is
    read to where the output will be). keep: of the keep bits. model: of a fine-tuned model, the widest one
    that is read from a file. state: of what a merge in groups of models carries from one to the next.
    read: of all that is read from files.
    """

    numel: np.ndarray
    wanted: np.ndarray
    merged: np.ndarray
    item: np.ndarray
    out_item: np.ndarray
    output: np.ndarray
    base: np.ndarray
    keep: np.ndarray
    model: np.ndarray
    state: np.ndarray
    read: np.ndarray

    @property
    def frame(self) -> np.ndarray:
        """Bits per element that pass through a frame."""
        return np.asarray(self.output + self.base + self.keep)

    @property
    def read_bytes(self) -> np.ndarray:
        """int64 ``[tensors]``: bytes read from files for each tensor."""
        return np.where(self.wanted, (self.numel * self.read + 7) // 8, 0)


def find_needs(plan: Plan[object], wants: Wants, *, histogram: bool = False) -> Needs:
    """Work out what the tensors of ``plan`` need so that a sink gets what it wants."""
    tensors = plan.tensors
    merged = np.array([tensor.merged for tensor in tensors], bool)
    item = np.array([dtypes.BITS[tensor.dtype] for tensor in tensors], np.int64)
    out_item = np.array([dtypes.BITS[tensor.out_dtype] for tensor in tensors], np.int64)
    same_dtype = np.array([tensor.out_dtype == tensor.dtype for tensor in tensors], bool)
    compute = np.array([dtypes.BITS[tensor.compute or "F32"] for tensor in tensors], np.int64)
    base_on_disk = isinstance(plan.base, FileRows)
    model, all_models = _model_bits(plan)
    wanted = merged | wants.copies
    if wants.memory is not None:
        wanted &= wants.memory != 0
    in_frame = wanted & (wants.output and wants.memory is None)
    in_place = same_dtype & (wants.output and not wants.base)
    return Needs(
        numel=np.array([tensor.numel for tensor in tensors], np.int64),
        wanted=wanted,
        merged=merged,
        item=item,
        out_item=out_item,
        output=np.where(in_frame, out_item, 0),
        base=np.where(merged & base_on_disk & ~in_place, item, 0),
        keep=np.where(merged & wants.keep_bits, 1, 0),
        model=model,
        # A running sum of C, two sign masks, and for a histogram two uint16 counts.
        state=np.where(merged, compute + 2 + (32 if histogram else 0), 0),
        read=np.where(base_on_disk, item, 0) + all_models,
    )


def _model_bits(plan: Plan[object]) -> tuple[np.ndarray, np.ndarray]:
    """Bits per element of the widest model on disk, and of all models on disk together."""
    widest, total = np.zeros((2, len(plan.tensors)), np.int64)
    merged = np.array(plan.merged, np.int64)
    for rows, codes in zip(plan.finetuned, plan.finetuned_dtypes, strict=True):
        if isinstance(rows, FileRows):
            bits = CODE_BITS[codes]
            widest[merged] = np.maximum(widest[merged], bits)
            total[merged] += bits
    return widest, total
