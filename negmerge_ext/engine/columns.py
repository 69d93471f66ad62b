"""What a kernel is told of tensors that lie in memory: a column for each tensor, a row for each model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..in_memory.device_memory import CPU
from ..in_memory.plain_tensor import Value, footprint
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..options import MODES
from ..plan import COPIED, Plan


class Columns(NamedTuple):
    """Tensors that one device merges, and those that it copies.

    tensor: int64 ``[columns]``, their indices in the plan. address, dtype: ``[models + 2, columns]``, the
    base first and the output last. direct: bool ``[columns]``, whether the elements are packed in the same
    order everywhere, so that they can be merged from where they are; the others' tensors (base, models,
    output) are ``unlike``, by column. copied: plan indices of those that are not merged.
    """

    tensor: np.ndarray
    address: np.ndarray
    dtype: np.ndarray
    direct: np.ndarray
    unlike: dict[int, list[Value]]
    copied: np.ndarray


def gather_columns(plan: Plan[MemoryRows], target: Target, chosen: np.ndarray) -> Columns:
    """The columns of the tensors ``chosen``, bool ``[tensors]``, all on one device."""
    tensors = plan.tensors
    merged = tensors.merged
    place = np.flatnonzero(chosen[merged])
    index = merged[place]
    # One row per input, the base first, and one for the output.
    inputs = [(plan.base, index), *((model, place) for model in plan.finetuned)]
    rows = [*inputs, (target.rows, index)]
    address = np.array([row.start[at] for row, at in rows])
    dtype = np.empty(address.shape, np.uint8)
    dtype[0], dtype[1:-1], dtype[-1] = (
        tensors.table.dtype[index],
        plan.finetuned_dtypes[:, place],
        tensors.out_dtype[index],
    )
    direct = np.logical_and.reduce([row.row_major[at] for row, at in rows])
    here = plan.base.on_cpu or not (plan.base.device[index] != CPU).any()
    unlike: dict[int, list[Value]] = {}
    for column in np.flatnonzero(~direct).tolist():
        values = [row.values[at[column]] for row, at in rows]
        views = [footprint(value) for value in values]
        order = storage_order(views[0].strides)
        direct[column] = all(view.transpose(order).flags.c_contiguous for view in views) and (
            here or all(view.flags.aligned for view in views)
        )
        if not direct[column]:
            unlike[column] = values
    copied = np.flatnonzero(chosen & (tensors.compute == COPIED))
    return Columns(index, address, dtype, direct, unlike, copied)


def kernel_arguments(
    plan: Plan[MemoryRows], index: np.ndarray, numel: np.ndarray, address: np.ndarray, dtype: np.ndarray
) -> dict[str, Any]:
    """What the kernel of any device is told of a merge of tensors packed in row-major order.

    index: their indices in the plan. numel: elements, of them or of pieces of them. address, dtype:
    ``[models + 2, tensors]``, the base first and the output last.
    """
    return {
        "method": plan.options.method.code,
        "mode": MODES[plan.options.mode],
        "scale": plan.options.scale,
        "models": plan.models,
        "numel": numel,
        "compute": plan.tensors.compute[index].astype(np.uint8),
        "base": address[0],
        "base_dtype": dtype[0],
        "finetuned": np.ascontiguousarray(address[1:-1].T),
        "finetuned_dtype": np.ascontiguousarray(dtype[1:-1].T),
        "out": address[-1],
        "out_dtype": dtype[-1],
        "thresholds": plan.thresholds_of(index),
    }


def storage_order(strides: tuple[int, ...]) -> list[int]:
    """The dimensions in the order in which memory has them, the outermost first."""
    return sorted(range(len(strides)), key=lambda axis: -abs(strides[axis]))
