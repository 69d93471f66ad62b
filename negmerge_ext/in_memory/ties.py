"""Tensors that share memory in the output: they are merged once, so their inputs must be the same."""

from __future__ import annotations

import math
from typing import Any

from ..checkpoint.base import FileRows
from ..checkpoint.files import FileReader
from ..dtypes import BITS, CODES
from ..errors import NegmergeError, TiedTensorError, raise_problems
from ..plan import Plan
from .plain_tensor import same_elements
from .state_dict import MemoryRows

#: Bytes of a file compared at a time.
_COMPARED = 4 << 20

_NAMES = {code: name for name, code in CODES.items()}


def check_ties(plan: Plan[Any], tied: dict[int, int], labels: list[str]) -> None:
    """Check that tensors tied in the output have equal inputs, bit for bit, in the base and every model.

    tied: plan index of a tensor to the plan index of the one whose memory it shares. labels: how errors
    name the base and each model. Raises :class:`~negmerge_ext.errors.TiedTensorError` naming both tensors.
    """
    if not tied:
        return
    position = {index: place for place, index in enumerate(plan.merged)}
    problems: list[NegmergeError] = []
    with FileReader() as reader:
        for index, first in tied.items():
            tensor, other = plan.tensors[index], plan.tensors[first]
            if tensor.merged != other.merged:
                excluded, kept = (other, tensor) if tensor.merged else (tensor, other)
                problems.append(
                    TiedTensorError(
                        f"is tied to '{kept.name}', which is merged, and would be copied from the base",
                        path=labels[0],
                        tensor=excluded.name,
                        remedy="Include or exclude both",
                    )
                )
                continue
            inputs = [(labels[0], plan.base, index, first, tensor.dtype, other.dtype)]
            if tensor.merged:
                a, b = position[index], position[first]
                codes = plan.finetuned_dtypes
                inputs += [
                    (labels[k + 1], rows, a, b, _NAMES[int(codes[k, a])], _NAMES[int(codes[k, b])])
                    for k, rows in enumerate(plan.finetuned)
                ]
            problems += [
                TiedTensorError(
                    f"differs from '{other.name}', and the two share their memory in the output",
                    path=label,
                    tensor=tensor.name,
                    remedy="Exclude both, or merge into a state dict whose tensors are not tied",
                )
                for label, rows, a, b, dtype, other_dtype in inputs
                if dtype != other_dtype or not _equal(rows, a, b, tensor.name, dtype, tensor.shape, reader)
            ]
    raise_problems(problems)


def _equal(
    rows: MemoryRows | FileRows,
    a: int,
    b: int,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    reader: FileReader,
) -> bool:
    if isinstance(rows, MemoryRows):
        one, other = rows.values[a], rows.values[b]
        return one is other or same_elements(one, other, name)
    if _place(rows, a) == _place(rows, b):
        return True
    numel, itemsize = math.prod(shape), BITS[dtype] // 8
    step = _COMPARED // itemsize
    return all(
        _elements(rows, a, shape, itemsize, begin, min(begin + step, numel), reader)
        == _elements(rows, b, shape, itemsize, begin, min(begin + step, numel), reader)
        for begin in range(0, numel, step)
    )


def _place(rows: FileRows, index: int) -> tuple[int, int, tuple[int, ...] | None]:
    return int(rows.file[index]), int(rows.offset[index]), rows.strides.get(index)


def _elements(
    rows: FileRows,
    index: int,
    shape: tuple[int, ...],
    itemsize: int,
    begin: int,
    end: int,
    reader: FileReader,
) -> bytearray:
    file, offset, strides = _place(rows, index)
    buffer = bytearray((end - begin) * itemsize)
    source, data = rows.files[file], memoryview(buffer)
    if strides is None:
        reader.read_into(source, offset + begin * itemsize, data)
    else:
        reader.read_elements(source, offset, strides, shape, itemsize, begin, end, data)
    return buffer
