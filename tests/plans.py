"""Plans of merges between files that need not exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from negmerge_ext import dtypes
from negmerge_ext.checkpoint.base import FileRows, SourceFile
from negmerge_ext.options import Options
from negmerge_ext.plan import Plan, PlannedTensor

_FILE = SourceFile(Path("file"), 1 << 50, 0, 0, 0)


def plan_of(
    models: int, tensors: list[tuple[int, str, str, str | None]], model_dtype: str = "F32"
) -> Plan[FileRows]:
    """tensors: elements, dtype, output dtype, compute dtype (None: copied)."""
    planned = tuple(
        PlannedTensor(str(number), (size,), dtype, out_dtype, compute)
        for number, (size, dtype, out_dtype, compute) in enumerate(tensors)
    )
    merged = tuple(number for number, tensor in enumerate(planned) if tensor.merged)

    def rows(count: int) -> FileRows:
        return FileRows((_FILE,), np.zeros(count, np.int32), np.zeros(count, np.int64), {})

    return Plan(
        options=Options.parse(),
        tensors=planned,
        merged=merged,
        base=rows(len(planned)),
        finetuned=(rows(len(merged)),) * models,
        finetuned_dtypes=np.full((models, len(merged)), dtypes.CODES[model_dtype], np.uint8),
    )
