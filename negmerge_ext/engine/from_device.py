"""Merging what lies on a CUDA device into main memory: chunks on their way to a file, a patch or a report."""

from __future__ import annotations

import numpy as np

from .. import dtypes, native
from ..in_memory.room import Room
from ..options import MODES
from ..plan import Plan
from .cuda import merge_batch
from .needs import CODE_BITS
from .placing import PlacedChunk, Rows

#: Results begin at multiples of it on the device, in bytes.
_ALIGNMENT = 16


def merge_from_device(
    plan: Plan[Rows],
    chunk: PlacedChunk,
    device: int,
    rows: np.ndarray,
    counts: np.ndarray | None,
    threads: int,
) -> None:
    """Merge the merged pieces of a chunk, whose inputs are all on ``device``; waits for the results.

    rows, counts: native statistics and sign agreement of the plan's merged tensors, added to. threads: for
    copying the results to their places. Raises :class:`~negmerge_ext.errors.DeviceError` and
    :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    inputs, numel = chunk.inputs, chunk.merged.numel
    tensors = [plan.tensors[tensor] for tensor in chunk.merged.tensor.tolist()]
    out_dtype = np.array([dtypes.CODES[tensor.out_dtype] for tensor in tensors], np.uint8)
    size = np.concatenate(
        [
            np.where(chunk.merged_out != 0, numel * CODE_BITS[out_dtype] // 8, 0),
            np.where(chunk.merged_keep != 0, 2 * -(-numel // 16), 0),
        ]
    )
    room = -(-size // _ALIGNMENT) * _ALIGNMENT
    place = np.cumsum(room) - room
    results = Room(int(room.sum()), device)
    address = np.where(size > 0, results.address + place, 0)
    out, keep = np.split(address, 2)
    stats, histogram = rows[chunk.rows], None if counts is None else counts[chunk.rows]
    merge_batch(
        device,
        method=plan.options.method.code,
        mode=MODES[plan.options.mode],
        scale=plan.options.scale,
        models=plan.models,
        numel=numel,
        compute=[dtypes.CODES[tensor.compute or "F32"] for tensor in tensors],
        base=inputs.base,
        base_dtype=[dtypes.CODES[tensor.dtype] for tensor in tensors],
        finetuned=inputs.finetuned,
        finetuned_dtype=inputs.finetuned_dtype,
        out=out,
        out_dtype=out_dtype,
        thresholds=plan.thresholds_of(chunk.merged.tensor),
        keep=keep if (chunk.merged_keep != 0).any() else (),
        stats=stats,
        histogram=histogram,
    )
    rows[chunk.rows] = stats
    if counts is not None:
        counts[chunk.rows] = histogram
    staged = results.on_cpu()
    target = np.concatenate([chunk.merged_out, chunk.merged_keep])
    wanted = size > 0
    native.copy(staged.ctypes.data + place[wanted], target[wanted], size[wanted], threads)
