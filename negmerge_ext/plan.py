"""What a merge will do, decided from metadata alone: which tensors are merged, which copied, in what.

A plan is plain data. Engines execute it; none decides anything about the method. Making a plan finds
every problem of the inputs and raises them together, before a byte of weights is touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, overload

import numpy as np

from . import dtypes
from .compatibility import source_problems, unfit_problems, unmatched, unsupported, without_match
from .errors import NegmergeError, NothingToMergeError, PoolError, collecting, raise_problems
from .options import Options
from .source import RowsT, Source, TensorInfo
from .table import TabledSource, TensorTable

#: In place of a compute type: the tensor is not merged.
COPIED = -1

_NO_NUMBERS = np.empty(0)

_F64, _F32 = dtypes.CODES["F64"], dtypes.CODES["F32"]


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the output. ``compute`` is the compute type C of a merged tensor, else ``None``."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    out_dtype: str
    compute: str | None

    @property
    def merged(self) -> bool:
        return self.compute is not None

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def out_nbytes(self) -> int:
        return dtypes.nbytes(self.out_dtype, self.numel)


class PlannedTensors(Sequence[PlannedTensor]):
    """The tensors of a plan in columns, each made an object when it is asked for.

    table: the base's tensors. out_dtype: int64 ``[tensors]``, numbers as in ``table.dtype``. compute: int64
    ``[tensors]``, native code of the compute type of a merged tensor, else :data:`COPIED`.
    """

    def __init__(self, table: TensorTable, out_dtype: np.ndarray, compute: np.ndarray) -> None:
        self.table = table
        self.out_dtype = out_dtype
        self.compute = compute

    @classmethod
    def copied(cls, tensors: Mapping[str, TensorInfo]) -> PlannedTensors:
        """None of ``tensors`` merged."""
        table = TensorTable.of(tensors)
        return cls(table, table.dtype, np.full(len(table), COPIED))

    def written_in(self, out_dtype: str | None) -> PlannedTensors:
        """The same tensors, the merged ones in ``out_dtype``, or for ``None`` in their own dtype."""
        dtype = self.table.dtype
        if out_dtype is not None:
            dtype = np.where(self.compute == COPIED, dtype, dtypes.NUMBERS[out_dtype])
        return PlannedTensors(self.table, dtype, self.compute)

    def written_in_compute(self) -> PlannedTensors:
        """The same tensors, the merged ones in their compute types."""
        # The native code of a dtype is its number.
        dtype = np.where(self.compute == COPIED, self.table.dtype, self.compute)
        return PlannedTensors(self.table, dtype, self.compute)

    @property
    def merged(self) -> np.ndarray:
        """Indices of those that are merged."""
        return np.flatnonzero(self.compute != COPIED)

    @cached_property
    def _objects(self) -> tuple[PlannedTensor, ...]:
        names = self.table.dtype_names
        computes = {COPIED: None} | {number: names[number] for number in (_F64, _F32)}
        columns = zip(
            self.table.names,
            self.table.shapes,
            self.table.dtype.tolist(),
            self.out_dtype.tolist(),
            self.compute.tolist(),
            strict=True,
        )
        return tuple(
            PlannedTensor(name, shape, names[dtype], names[out_dtype], computes[compute])
            for name, shape, dtype, out_dtype, compute in columns
        )

    @overload
    def __getitem__(self, index: int) -> PlannedTensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PlannedTensor]: ...
    def __getitem__(self, index: int | slice) -> PlannedTensor | Sequence[PlannedTensor]:
        return self._objects[index]

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True, slots=True)
class Plan(Generic[RowsT]):
    """A checked merge.

    tensors: every tensor of the base in its stored order. base: the rows of all of them.
    merged: indices into ``tensors`` of those that are merged, in order. finetuned[k]: the rows of the
    merged tensors (only those, in the order of ``merged``) in model k. finetuned_dtypes: their dtypes as
    native codes, uint8 ``[N, len(merged)]``. thresholds: float64 ``[len(merged), N]``, what differences must
    reach to be looked at, if the method trims and once they are known (:mod:`.engine.trimming`).
    """

    options: Options
    tensors: PlannedTensors
    merged: tuple[int, ...]
    base: RowsT
    finetuned: tuple[RowsT, ...]
    finetuned_dtypes: np.ndarray
    thresholds: np.ndarray | None = None

    def thresholds_of(self, tensors: np.ndarray) -> np.ndarray:
        """float64 ``[tensors, N]``: the thresholds of merged tensors, by plan index; or no numbers."""
        if self.thresholds is None:
            return _NO_NUMBERS
        return np.asarray(self.thresholds[np.searchsorted(self.tensors.merged, tensors)])

    @property
    def models(self) -> int:
        return len(self.finetuned)


def make_plan(
    base: Source[RowsT],
    finetuned: Iterable[Source[RowsT]],
    options: Options,
    *,
    more_to_come: bool = False,
) -> Plan[RowsT]:
    """Check ``base`` against every fine-tuned checkpoint and decide what happens to each tensor.

    ``finetuned`` may be lazy: each source is dropped once its rows are taken, so that thousands of
    checkpoints need no more than their offsets. Its ``next`` may raise the package's own errors (so pass a
    ``map``, which goes on after one, not a generator); they are collected like every other problem.
    more_to_come: whether further models may have the tensors that an exclude pattern is meant for.
    Raises what it found through :func:`~negmerge_ext.errors.raise_problems`.
    """
    problems: list[NegmergeError] = [
        without_match("include", pattern, base.label) for pattern in unmatched(options.include or (), base)
    ]
    # An entry that is no tensor can be left out; a tensor that cannot be read cannot be copied either.
    unfit = {name: why for name, why in base.unfit.items() if why.tensor or options.selects(name)}
    problems += unfit_problems(base.label, unfit)
    table = TensorTable.of(base.tensors)
    merged = _to_merge(table, options)
    whole = len(merged) == len(table)
    problems += [
        unsupported(base.label, table.names[index], table.dtype_names[table.dtype[index]])
        for index in merged[table.dtype[merged] >= len(dtypes.CODES)].tolist()
    ]
    if len(merged) == 0 and not problems:
        problems.append(
            NothingToMergeError(
                "no floating-point tensor is left to merge",
                path=base.label,
                remedy="Check include and exclude",
            )
        )

    rows: list[RowsT] = []
    codes: list[np.ndarray] = []
    accepted: dict[bytes, np.ndarray] = {}  # by all dtypes of a model, those to merge if a merge takes them
    idle = unmatched(() if more_to_come else options.exclude or (), base)
    for source in collecting(finetuned, problems):
        if isinstance(source, TabledSource) and source.tensors.same_shapes(table) and not source.unfit:
            key = source.tensors.dtype.tobytes()
            if key not in accepted:
                dtype = source.tensors.dtype[merged]
                if dtype.max(initial=0) < len(dtypes.CODES):
                    accepted[key] = dtype.astype(np.uint8)
            if key in accepted:  # nothing about it is unlike the base
                rows.append(source.rows(source.tensors.names) if whole else source.rows_at(merged))
                codes.append(accepted[key])
                continue
        idle = unmatched(idle, source)
        names = [table.names[index] for index in merged.tolist()]
        problems += source_problems(base, source, names, options)
        if not problems:
            rows.append(source.rows(names))
            codes.append(np.array([dtypes.CODES[source.tensors[name].dtype] for name in names]))
    problems += [without_match("exclude", pattern) for pattern in idle]
    if not rows and not problems:
        problems.append(PoolError("no fine-tuned checkpoint was given", remedy="Give at least one"))
    raise_problems(problems)

    finetuned_dtypes = np.array(codes, np.uint8)
    in_double = (table.dtype[merged] == _F64) | (finetuned_dtypes == _F64).any(axis=0)
    return Plan(
        options=options,
        tensors=_planned(table, merged, np.where(in_double, _F64, _F32), options),
        merged=tuple(merged.tolist()),
        base=base.rows(table.names),
        finetuned=tuple(rows),
        finetuned_dtypes=finetuned_dtypes,
    )


def output_tensors(base: Source[object], options: Options) -> PlannedTensors:
    """The tensors of the output as the base alone lets them be known: models may raise ``compute`` to F64."""
    table = TensorTable.of(base.tensors)
    merged = _to_merge(table, options)
    return _planned(table, merged, np.full(len(merged), _F32), options)


def _to_merge(table: TensorTable, options: Options) -> np.ndarray:
    """Indices of the tensors to be merged."""
    floating = np.array([name not in dtypes.NOT_FLOATING for name in table.dtype_names])
    return np.flatnonzero(floating[table.dtype] & options.selected(table.names))


def _planned(table: TensorTable, merged: np.ndarray, compute: np.ndarray, options: Options) -> PlannedTensors:
    computes = np.full(len(table), COPIED)
    computes[merged] = compute
    return PlannedTensors(table, table.dtype, computes).written_in(options.out_dtype)
