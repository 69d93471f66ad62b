"""What a merge will do, decided from metadata alone: which tensors are merged, which copied, in what.

A plan is plain data. Engines execute it; none decides anything about the method. Making a plan finds
every problem of the inputs and raises them together, before a byte of weights is touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

import numpy as np

from . import dtypes
from .compatibility import source_problems, unfit_problems, unmatched, unsupported, without_match
from .errors import NegmergeError, NothingToMergeError, PoolError, collecting, raise_problems
from .options import Options
from .source import RowsT, Source, TensorInfo


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


@dataclass(frozen=True, slots=True)
class Plan(Generic[RowsT]):
    """A checked merge.

    tensors: every tensor of the base in its stored order. base: the rows of all of them.
    merged: indices into ``tensors`` of those that are merged, in order. finetuned[k]: the rows of the
    merged tensors (only those, in the order of ``merged``) in model k. finetuned_dtypes: their dtypes as
    native codes, uint8 ``[N, len(merged)]``.
    """

    options: Options
    tensors: tuple[PlannedTensor, ...]
    merged: tuple[int, ...]
    base: RowsT
    finetuned: tuple[RowsT, ...]
    finetuned_dtypes: np.ndarray

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
    merged_names = _names_to_merge(base, options)
    problems += [
        unsupported(base.label, name, base.tensors[name].dtype)
        for name in merged_names
        if base.tensors[name].dtype not in dtypes.CODES
    ]
    if not merged_names and not problems:
        problems.append(
            NothingToMergeError(
                "no floating-point tensor is left to merge",
                path=base.label,
                remedy="Check include and exclude",
            )
        )

    rows: list[RowsT] = []
    codes: list[np.ndarray] = []
    in_double = np.array([base.tensors[name].dtype == "F64" for name in merged_names], dtype=bool)
    idle = unmatched(() if more_to_come else options.exclude or (), base)
    for source in collecting(finetuned, problems):
        idle = unmatched(idle, source)
        problems += source_problems(base, source, merged_names, options)
        if not problems:
            rows.append(source.rows(merged_names))
            names = (source.tensors[name].dtype for name in merged_names)
            row = np.fromiter((dtypes.CODES[name] for name in names), np.uint8, len(merged_names))
            in_double |= row == dtypes.CODES["F64"]
            codes.append(row)
    problems += [without_match("exclude", pattern) for pattern in idle]
    if not rows and not problems:
        problems.append(PoolError("no fine-tuned checkpoint was given", remedy="Give at least one"))
    raise_problems(problems)

    computes = dict(zip(merged_names, np.where(in_double, "F64", "F32").tolist(), strict=True))
    tensors = tuple(_planned(name, info, computes.get(name), options) for name, info in base.tensors.items())
    return Plan(
        options=options,
        tensors=tensors,
        merged=tuple(index for index, tensor in enumerate(tensors) if tensor.merged),
        base=base.rows(list(base.tensors)),
        finetuned=tuple(rows),
        finetuned_dtypes=np.stack(codes),
    )


def output_tensors(base: Source[object], options: Options) -> list[PlannedTensor]:
    """The tensors of the output as the base alone lets them be known: models may raise ``compute`` to F64."""
    merged = set(_names_to_merge(base, options))
    return [
        _planned(name, info, "F32" if name in merged else None, options)
        for name, info in base.tensors.items()
    ]


def _names_to_merge(base: Source[object], options: Options) -> list[str]:
    return [
        name
        for name, info in base.tensors.items()
        if info.dtype not in dtypes.NOT_FLOATING and options.selects(name)
    ]


def _planned(name: str, info: TensorInfo, compute: str | None, options: Options) -> PlannedTensor:
    out_dtype = info.dtype
    if compute is not None and options.out_dtype is not None:
        out_dtype = options.out_dtype
    return PlannedTensor(name=name, shape=info.shape, dtype=info.dtype, out_dtype=out_dtype, compute=compute)
