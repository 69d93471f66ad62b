"""Whether checkpoints fit together: every problem of a fine-tuned checkpoint against the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from . import dtypes
from .errors import (
    DtypeError,
    MissingTensorError,
    NegmergeError,
    PatternError,
    ShapeMismatchError,
    UnexpectedTensorError,
    shortened,
)
from .options import Options, matches
from .source import Source, Unfit

RowsT = TypeVar("RowsT")


def source_problems(
    base: Source[RowsT], source: Source[RowsT], merged: Sequence[str], options: Options
) -> list[NegmergeError]:
    """What keeps a fine-tuned checkpoint from being merged with ``base``; ``merged``: names to merge."""
    tensors, unfit = source.tensors, source.unfit
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
            problems.append(unsupported(source.label, name, theirs.dtype))
    known, left = base.tensors, base.unfit
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


def _prefix_problem(source: Source[object], merged: Sequence[str]) -> MissingTensorError | None:
    """One problem for a model that has all merged tensors with a prefix, or without the base's."""
    theirs, unfit = source.tensors, source.unfit
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


def unsupported(label: str, name: str, dtype: str) -> DtypeError:
    """The problem of a tensor whose dtype has no arithmetic here."""
    return DtypeError(
        f"has dtype {dtype}, which cannot be merged",
        path=label,
        tensor=name,
        remedy="Exclude it to copy it from the base",
    )


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


def without_match(option: str, pattern: str, label: str | None = None) -> PatternError:
    """The problem of a pattern that matches no tensor."""
    return PatternError(
        f"{option} pattern {pattern!r} matches no tensor",
        path=label,
        remedy="Patterns are matched against whole names, as in 'layers.*.weight'",
    )


def unmatched(patterns: Sequence[str], source: Source[object]) -> list[str]:
    """Those of ``patterns`` that match no name of ``source``."""
    names = [*source.tensors, *source.unfit] if patterns else []
    return [pattern for pattern in patterns if not any(matches(name, (pattern,)) for name in names)]
