"""What a merge will do, decided from metadata alone: which tensors are merged, which copied, in what.

A plan is plain data. Engines execute it; none decides anything about the method. Making a plan finds
every problem of the inputs and raises them together, before a byte of weights is touched.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeVar

import numpy as np

from . import dtypes
from .errors import (
    DtypeError,
    MissingTensorError,
    NegmergeError,
    NothingToMergeError,
    OptionError,
    PatternError,
    PoolError,
    ShapeMismatchError,
    UnexpectedTensorError,
    collecting,
    raise_problems,
    shortened,
)
from .methods import Method
from .methods import get as get_method

#: Codes of ``csrc/arithmetic.h``.
MODES = {"negate": 0, "add": 1, "vector": 2}

#: BatchNorm's running statistics are averages of activations, not trained weights. Fine-tuning moves
#: them all the same way, so they pass the sign consensus, and extrapolating them ruins the model (a
#: variance can even turn negative). They stay the base's unless ``exclude`` is given explicitly.
DEFAULT_EXCLUDE = ("running_mean", "*.running_mean", "running_var", "*.running_var")

#: λ is rounded to the compute type, where it must not become infinite.
_LARGEST_SCALE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's dtype (safetensors name) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


RowsT = TypeVar("RowsT", covariant=True)


class Source(Protocol[RowsT]):
    """A checkpoint as the planner sees it: names and metadata, in stored order.

    ``label`` is how errors name it. ``rows(names)`` gives whatever an engine needs to reach the data of
    those tensors; the planner passes it on unseen.
    """

    @property
    def label(self) -> str: ...
    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...
    def rows(self, names: Sequence[str]) -> RowsT: ...


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for, checked.

    ``include`` / ``exclude`` are glob patterns (case-sensitive ``fnmatch``) on whole tensor names;
    ``exclude=None`` stands for :data:`DEFAULT_EXCLUDE`.
    """

    method: Method
    scale: float
    mode: str
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    out_dtype: str | None = None

    @classmethod
    def parse(
        cls,
        *,
        method: str = "negmerge",
        scale: float = 1.0,
        mode: str = "negate",
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        out_dtype: object = None,
    ) -> Options:
        """Check the user's words; :class:`OptionError` or :class:`DtypeError` name what is off."""
        if mode not in MODES:
            raise OptionError(f"no mode is called {mode!r}", remedy=f"Use one of {', '.join(MODES)}")
        try:
            number = float(scale)
        except (TypeError, ValueError):
            raise OptionError(f"scale must be a number, not {scale!r}") from None
        if not math.isfinite(number) or abs(number) > _LARGEST_SCALE:
            raise OptionError(f"scale must be finite, in fp32 too, not {number}")
        return cls(
            method=get_method(method),
            scale=number,
            mode=mode,
            include=_patterns("include", include),
            exclude=_patterns("exclude", exclude),
            out_dtype=None if out_dtype is None else dtypes.parse(out_dtype),
        )

    def selects(self, name: str) -> bool:
        """Whether a tensor of this name is to be merged if its dtype allows."""
        if self.include is not None and not _matches(name, self.include):
            return False
        exclude = DEFAULT_EXCLUDE if self.exclude is None else self.exclude
        return not _matches(name, exclude)


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


def make_plan(base: Source[RowsT], finetuned: Iterable[Source[RowsT]], options: Options) -> Plan[RowsT]:
    """Check ``base`` against every fine-tuned checkpoint and decide what happens to each tensor.

    ``finetuned`` may be lazy: each source is dropped once its rows are taken, so that thousands of
    checkpoints need no more than their offsets. Its ``next`` may raise the package's own errors (so pass a
    ``map``, which goes on after one, not a generator); they are collected like every other problem.
    Raises what it found through :func:`~negmerge_ext.errors.raise_problems`.
    """
    problems: list[NegmergeError] = _check_include(base, options)
    merged_names: list[str] = []
    for name, info in base.tensors.items():
        if info.dtype in dtypes.NOT_FLOATING or not options.selects(name):
            continue
        if info.dtype not in dtypes.CODES:
            problems.append(_unsupported(base.label, name, info.dtype))
        merged_names.append(name)
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
    for source in collecting(finetuned, problems):
        found = _check_source(base, source, merged_names, options)
        problems += found
        if not problems:
            rows.append(source.rows(merged_names))
            names = (source.tensors[name].dtype for name in merged_names)
            row = np.fromiter((dtypes.CODES[name] for name in names), np.uint8, len(merged_names))
            in_double |= row == dtypes.CODES["F64"]
            codes.append(row)
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


def _planned(name: str, info: TensorInfo, compute: str | None, options: Options) -> PlannedTensor:
    out_dtype = info.dtype
    if compute is not None and options.out_dtype is not None:
        out_dtype = options.out_dtype
    return PlannedTensor(name=name, shape=info.shape, dtype=info.dtype, out_dtype=out_dtype, compute=compute)


def _check_source(
    base: Source[RowsT], source: Source[RowsT], merged: Sequence[str], options: Options
) -> list[NegmergeError]:
    problems: list[NegmergeError] = []
    tensors = source.tensors
    for name in merged:
        theirs, ours = tensors.get(name), base.tensors[name]
        if theirs is None:
            problems.append(
                MissingTensorError(
                    "is in the base but not here",
                    path=source.label,
                    tensor=name,
                    remedy="Exclude it to copy it from the base",
                )
            )
        elif theirs.shape != ours.shape:
            problems.append(
                ShapeMismatchError(
                    f"has shape {list(theirs.shape)}, the base {list(ours.shape)}",
                    path=source.label,
                    tensor=name,
                    remedy="Exclude it to copy it from the base, or give checkpoints of one architecture",
                )
            )
        elif theirs.dtype not in dtypes.CODES:
            problems.append(_unsupported(source.label, name, theirs.dtype))
    unknown = [name for name in tensors if name not in base.tensors and options.selects(name)]
    problems += [
        UnexpectedTensorError(
            "is not in the base",
            path=source.label,
            tensor=name,
            remedy="Exclude it to leave it out",
        )
        for name in unknown
    ]
    return shortened(problems, source.label)


def _unsupported(label: str, name: str, dtype: str) -> DtypeError:
    return DtypeError(
        f"has dtype {dtype}, which cannot be merged",
        path=label,
        tensor=name,
        remedy="Exclude it to copy it from the base",
    )


def _check_include(base: Source[RowsT], options: Options) -> list[NegmergeError]:
    return [
        PatternError(
            f"include pattern {pattern!r} matches no tensor",
            path=base.label,
            remedy="Patterns are matched against whole names, as in 'layers.*.weight'",
        )
        for pattern in options.include or ()
        if not any(fnmatchcase(name, pattern) for name in base.tensors)
    ]


def _patterns(option: str, value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    patterns = (value,) if isinstance(value, str) else tuple(value)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise OptionError(f"{option} takes glob patterns, not {pattern!r}")
    return patterns


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
