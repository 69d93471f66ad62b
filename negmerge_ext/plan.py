"""What a merge will do, decided from metadata alone: which tensors are merged, which copied, in what.

A plan is plain data. Engines execute it; none decides anything about the method. Making a plan finds
every problem of the inputs and raises them together, before a byte of weights is touched.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from numbers import Real
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from . import dtypes
from .errors import (
    DtypeError,
    InputError,
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
#: variance can even turn negative). They stay the base's unless ``include`` is given.
RUNNING_STATISTICS = ("running_mean", "*.running_mean", "running_var", "*.running_var")

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


class Unfit(NamedTuple):
    """Why an entry of a state dict cannot be merged; ``tensor``: whether it is a tensor at all."""

    kind: type[InputError]
    message: str
    remedy: str
    tensor: bool = True


RowsT = TypeVar("RowsT", covariant=True)


class Source(Protocol[RowsT]):
    """A checkpoint as the planner sees it: names and metadata, in stored order.

    ``label`` is how errors name it. ``rows(names)`` gives whatever an engine needs to reach the data of
    those tensors; the planner passes it on unseen. A source whose entries may be something else than
    tensors that can be read has those in ``unfit``, by name, and not among its ``tensors``.
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
    ``include=None`` stands for everything but :data:`RUNNING_STATISTICS`.
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
        return cls(
            method=get_method(method),
            scale=_scale(scale),
            mode=mode,
            include=_patterns("include", include),
            exclude=_patterns("exclude", exclude),
            out_dtype=None if out_dtype is None else dtypes.parse(out_dtype),
        )

    def selects(self, name: str) -> bool:
        """Whether a tensor of this name is to be merged if its dtype allows."""
        if self.include is None:
            included = not _matches(name, RUNNING_STATISTICS)
        else:
            included = _matches(name, self.include)
        return included and not _matches(name, self.exclude or ())


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
        _without_match("include", pattern, base.label) for pattern in _unmatched(options.include or (), base)
    ]
    # An entry that is no tensor can be left out; a tensor that cannot be read cannot be copied either.
    unfit = {name: why for name, why in _unfit(base).items() if why.tensor or options.selects(name)}
    problems += unfit_problems(base.label, unfit)
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
    idle = _unmatched(() if more_to_come else options.exclude or (), base)
    for source in collecting(finetuned, problems):
        idle = _unmatched(idle, source)
        problems += _check_source(base, source, merged_names, options)
        if not problems:
            rows.append(source.rows(merged_names))
            names = (source.tensors[name].dtype for name in merged_names)
            row = np.fromiter((dtypes.CODES[name] for name in names), np.uint8, len(merged_names))
            in_double |= row == dtypes.CODES["F64"]
            codes.append(row)
    problems += [_without_match("exclude", pattern) for pattern in idle]
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
    merged = {
        name
        for name, info in base.tensors.items()
        if info.dtype not in dtypes.NOT_FLOATING and options.selects(name)
    }
    return [
        _planned(name, info, "F32" if name in merged else None, options)
        for name, info in base.tensors.items()
    ]


def unfit_problems(label: str, unfit: Mapping[str, Unfit]) -> list[NegmergeError]:
    """One problem for all entries that are unfit for the same reason."""
    names: dict[Unfit, list[str]] = {}
    for name, why in unfit.items():
        names.setdefault(why, []).append(name)
    problems: list[NegmergeError] = []
    for why, group in names.items():
        others = f" (and so for {len(group) - 1} more)" if len(group) > 1 else ""
        problem = why.kind(why.message + others, path=label, tensor=group[0], remedy=why.remedy)
        problem.count = len(group)
        problems.append(problem)
    return problems


def _unfit(source: Source[object]) -> Mapping[str, Unfit]:
    found: Mapping[str, Unfit] = getattr(source, "unfit", {})
    return found


def _planned(name: str, info: TensorInfo, compute: str | None, options: Options) -> PlannedTensor:
    out_dtype = info.dtype
    if compute is not None and options.out_dtype is not None:
        out_dtype = options.out_dtype
    return PlannedTensor(name=name, shape=info.shape, dtype=info.dtype, out_dtype=out_dtype, compute=compute)


def _check_source(
    base: Source[RowsT], source: Source[RowsT], merged: Sequence[str], options: Options
) -> list[NegmergeError]:
    tensors, unfit = source.tensors, _unfit(source)
    prefix = _prefix_problem(source, merged)
    if prefix is not None:
        return [prefix]
    problems: list[NegmergeError] = []
    for name in merged:
        if name in unfit:
            continue
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
    known, left = base.tensors, _unfit(base)
    unknown = [name for name in tensors if name not in known and name not in left and options.selects(name)]
    problems += [
        UnexpectedTensorError(
            "is not in the base",
            path=source.label,
            tensor=name,
            remedy="Exclude it to leave it out",
        )
        for name in unknown
    ]
    needed = {
        name: why
        for name, why in unfit.items()
        if options.selects(name)
        and not (name in base.tensors and base.tensors[name].dtype in dtypes.NOT_FLOATING)
    }
    return [*unfit_problems(source.label, needed), *shortened(problems, source.label)]


def _unsupported(label: str, name: str, dtype: str) -> DtypeError:
    return DtypeError(
        f"has dtype {dtype}, which cannot be merged",
        path=label,
        tensor=name,
        remedy="Exclude it to copy it from the base",
    )


def _prefix_problem(source: Source[object], merged: Sequence[str]) -> MissingTensorError | None:
    """One problem for a model that has all merged tensors with a prefix, or without the base's."""
    theirs, unfit = source.tensors, _unfit(source)
    if not merged or any(name in theirs or name in unfit for name in merged):
        return None
    first = merged[0]
    for name in theirs:
        if name.endswith("." + first):
            prefix = name.removesuffix(first)
            if all(prefix + other in theirs for other in merged):
                return _prefixed("has every name with the prefix", prefix, source.label, "its names")
        elif first.endswith("." + name):
            prefix = first.removesuffix(name)
            if all(other.startswith(prefix) and other.removeprefix(prefix) in theirs for other in merged):
                return _prefixed("has every name without the base's prefix", prefix, source.label, "the base")
    return None


def _prefixed(message: str, prefix: str, label: str, whose: str) -> MissingTensorError:
    return MissingTensorError(
        f"{message} '{prefix}'",
        path=label,
        remedy=f"Strip it from {whose}: "
        f'{{name.removeprefix("{prefix}"): tensor for name, tensor in state_dict.items()}}',
    )


def _without_match(option: str, pattern: str, label: str | None = None) -> PatternError:
    return PatternError(
        f"{option} pattern {pattern!r} matches no tensor",
        path=label,
        remedy="Patterns are matched against whole names, as in 'layers.*.weight'",
    )


def _unmatched(patterns: Sequence[str], source: Source[object]) -> list[str]:
    """Those of ``patterns`` that match no name of ``source``."""
    names = [*source.tensors, *_unfit(source)] if patterns else []
    return [pattern for pattern in patterns if not any(map(_matcher((pattern,)), names))]


def _scale(value: object) -> float:
    """A real number, or a scalar of numpy or torch that holds one; nothing that merely converts to one."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, Real):
        raise OptionError(f"scale must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer may be too large even for fp64
        number = math.inf
    if not math.isfinite(number) or abs(number) > _LARGEST_SCALE:
        raise OptionError(f"scale must be finite, in fp32 too, not {number}")
    return number


def _patterns(option: str, value: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    patterns = tuple(value) if isinstance(value, Iterable) else (value,)
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise OptionError(f"{option} takes glob patterns, not {pattern!r}")
    return patterns


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return _matcher(patterns)(name) is not None


@lru_cache(maxsize=256)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], re.Match[str] | None]:
    # No pattern matches nothing; an empty alternative would match everything.
    return re.compile("|".join(map(translate, patterns)) or "(?!)").match
