"""Private copies of checkpoints in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from ..checkpoint import Checkpoint
from ..dtypes import nbytes
from ..in_memory.copying import copy_tensors
from ..in_memory.state_dict import MemoryRows, StateDictSource
from ..in_memory.targets import new_target
from ..options import Options
from ..plan import Plan, PlannedTensors
from ..source import TensorInfo
from .pipeline import Settings, run
from .sinks import InMemory

RowsT = TypeVar("RowsT")


def snapshot(source: Checkpoint | StateDictSource) -> StateDictSource:
    """A state dict like the source (order, layouts, ties, torch or numpy) that shares no memory with it.

    The tensors of a checkpoint on disk become torch tensors. Raises what reading it raises.
    """
    if isinstance(source, Checkpoint):
        plan = _copying(source.tensors, source.rows(list(source.tensors)))
        target = new_target(plan, None)
        with target.row_major_addresses() as addresses:
            run(plan, InMemory(addresses), Settings())
    else:
        rows = source.rows(list(source.tensors))
        target = new_target(_copying(source.tensors, rows), source)
        alone = np.setdiff1d(np.arange(len(rows)), list(target.tied))
        copy_tensors(rows, target.rows, alone)
    return StateDictSource(target.result, source.label)


def read_rows(source: Checkpoint, names: Sequence[str]) -> MemoryRows:
    """The tensors ``names`` of a checkpoint, read into memory as packed bytes in row-major order."""
    infos = {name: source.tensors[name] for name in names}
    sizes = np.array([nbytes(info.dtype, info.numel) for info in infos.values()], np.int64)
    values = [np.empty(size, np.uint8) for size in sizes.tolist()]
    addresses = np.array([value.ctypes.data for value in values], np.int64)
    run(_copying(infos, source.rows(names)), InMemory(addresses), Settings())
    return MemoryRows(values, addresses, np.ones(len(values), bool), sizes)


def _copying(tensors: Mapping[str, TensorInfo], rows: RowsT) -> Plan[RowsT]:
    """A plan that merges nothing."""
    return Plan(
        options=Options.parse(),
        tensors=PlannedTensors.copied(tensors),
        merged=(),
        base=rows,
        finetuned=(),
        finetuned_dtypes=np.empty((0, 0), np.uint8),
    )
