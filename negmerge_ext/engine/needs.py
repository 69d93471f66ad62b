"""What each tensor of a plan needs of a streaming merge: which bytes are read, which pass through buffers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import dtypes
from ..checkpoint.base import FileRows
from ..in_memory.device_memory import CPU
from ..in_memory.state_dict import MemoryRows
from ..plan import Plan
from .sinks import Wants

#: Bits per element by native dtype code.
CODE_BITS = np.array([dtypes.BITS[name] for name in sorted(dtypes.CODES, key=dtypes.CODES.__getitem__)])


@dataclass(frozen=True, slots=True)
class Needs:
    """Per tensor of the plan.

    numel: int64, elements. wanted: bool, whether the sink gets it. merged: bool. base_in_file: bool, whether
    the kernel reads the base itself. The others are int64, bits per element. item: of the base's tensor;
    out_item: of the output's. In a frame: output (0: the sink has memory for it, or takes none); base (0: the
    kernel reads it, it is in main memory, or it is read to where the output will be); keep, the keep bits;
    models, all fine-tuned tensors together that the kernel cannot read itself. read: of all that is read from
    files.
    """

    numel: np.ndarray
    wanted: np.ndarray
    merged: np.ndarray
    base_in_file: np.ndarray
    item: np.ndarray
    out_item: np.ndarray
    output: np.ndarray
    base: np.ndarray
    keep: np.ndarray
    models: np.ndarray
    read: np.ndarray

    @property
    def frame(self) -> np.ndarray:
        """Bits per element that pass through a frame."""
        return np.asarray(self.output + self.base + self.keep + self.models)

    @property
    def read_bytes(self) -> np.ndarray:
        """int64 ``[tensors]``: bytes read from files for each tensor."""
        return np.where(self.wanted, (self.numel * self.read + 7) // 8, 0)


def find_needs(plan: Plan[object], wants: Wants, *, base_in_memory: bool = False) -> Needs:
    """Work out what the tensors of ``plan`` need so that a sink gets what it wants.

    base_in_memory: whether the base of merged tensors must be in memory when they are made.
    """
    tensors = plan.tensors
    merged = np.array([tensor.merged for tensor in tensors], bool)
    item = np.array([dtypes.BITS[tensor.dtype] for tensor in tensors], np.int64)
    out_item = np.array([dtypes.BITS[tensor.out_dtype] for tensor in tensors], np.int64)
    same_dtype = np.array([tensor.out_dtype == tensor.dtype for tensor in tensors], bool)
    base_on_disk = isinstance(plan.base, FileRows)
    on_device = plan.base.device != CPU if isinstance(plan.base, MemoryRows) else np.zeros(len(tensors), bool)
    buffered = np.full(len(tensors), base_in_memory or wants.base)
    if isinstance(plan.base, FileRows):
        buffered[list(plan.base.strides)] = True
    in_models, all_models = _model_bits(plan)
    wanted = merged | wants.copies
    if wants.memory is not None:
        wanted &= wants.memory != 0
    in_frame = wanted & (wants.output and wants.memory is None)
    # Memory of the user may be that of a model, and must not be written before it is merged.
    in_place = same_dtype & in_frame & (not wants.base)
    return Needs(
        numel=np.array([tensor.numel for tensor in tensors], np.int64),
        wanted=wanted,
        merged=merged,
        base_in_file=merged & base_on_disk & ~buffered,
        item=item,
        out_item=out_item,
        output=np.where(in_frame, out_item, 0),
        base=np.where(merged & (base_on_disk & buffered & ~in_place | on_device & wants.base), item, 0),
        keep=np.where(merged & wants.keep_bits, 1, 0),
        models=in_models,
        read=np.where(base_on_disk, item, 0) + all_models,
    )


def _model_bits(plan: Plan[object]) -> tuple[np.ndarray, np.ndarray]:
    """Bits per element, all models together: of what is gathered from files, and of all read from files."""
    gathered, total = np.zeros((2, len(plan.tensors)), np.int64)
    merged = np.array(plan.merged, np.int64)
    for rows, codes in zip(plan.finetuned, plan.finetuned_dtypes, strict=True):
        if isinstance(rows, FileRows):
            bits = CODE_BITS[codes]
            total[merged] += bits
            strided = list(rows.strides)
            gathered[merged[strided]] += bits[strided]
    return gathered, total
