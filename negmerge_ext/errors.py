"""Every exception the package raises on purpose.

Bad input gets one error that names the file, the tensor and the remedy. Preflight checks collect all
problems first; :func:`raise_problems` then raises them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

#: Problems of one kind after which a checkpoint's listing is cut short.
_LISTED = 20


class NegmergeError(Exception):
    """Root of the package's exceptions.

    Parameters
    ----------
    message: what is wrong, without a trailing full stop.
    path: the file or folder concerned (or a label such as ``finetuned[3]``).
    tensor: the tensor concerned.
    remedy: what the user can do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        path: object = None,
        tensor: str | None = None,
        remedy: str | None = None,
    ) -> None:
        where = [] if path is None else [str(path)]
        if tensor is not None:
            where.append(f"tensor '{tensor}'")
        text = ": ".join([*where, message])
        super().__init__(text if remedy is None else f"{text}. {remedy}")
        self.path = None if path is None else str(path)  # after super(): ImportError has a path of its own
        self.tensor = tensor
        self.remedy = remedy
        self.problems: tuple[NegmergeError, ...] = ()
        self.count = 1  # of problems that this one stands for


class InputError(NegmergeError, ValueError):
    """What was given to the call cannot be merged."""


class OptionError(InputError):
    """An option's value is outside what it accepts (scale, mode, method, dtype, threads, …)."""


class PoolError(InputError):
    """``finetuned`` is not a sequence of at least one checkpoint."""


class PatternError(InputError):
    """An include pattern matches no tensor of the base, or an exclude pattern none of any model."""


class NothingToMergeError(InputError):
    """No tensor of the base is left to merge."""


class MissingTensorError(InputError):
    """A tensor of the base is absent from a fine-tuned checkpoint or from ``out``."""


class UnexpectedTensorError(InputError):
    """A fine-tuned checkpoint or ``out`` has a tensor that the base has not."""


class ShapeMismatchError(InputError):
    """A tensor's shape differs from the base's."""


class DtypeError(InputError):
    """A dtype is not supported, or does not fit the other checkpoints' dtype."""


class UnsupportedTensorError(InputError):
    """A tensor has no plain strided memory (meta, sparse, quantised, nested, …) or a wrong type."""


class DeviceError(InputError):
    """A device cannot be used here, failed, or is not the one that a tensor lies on."""


class TiedTensorError(InputError):
    """Tensors that share memory in the base differ in a fine-tuned checkpoint."""


class CheckpointError(InputError):
    """A checkpoint file or folder cannot be read, is malformed, or is not of a known format."""


class PreflightError(InputError):
    """Several problems of different kinds; ``problems`` holds each as its own exception."""


class PatchMismatchError(InputError):
    """The model is not the one that a patch was made from."""


class OutputExistsError(NegmergeError, FileExistsError):
    """The output exists and overwriting was not asked for, or would lose files of somebody else."""


class DiskSpaceError(NegmergeError, OSError):
    """The output does not fit on the disk."""


class OutputError(NegmergeError, OSError):
    """The output cannot be written."""


class MemoryBudgetError(InputError):
    """``max_memory`` is below what the merge needs."""


class DeviceMemoryError(NegmergeError, MemoryError):
    """A CUDA device has not the memory that a merge needs, or the host none that it can copy from."""


class SourceChangedError(NegmergeError, OSError):
    """An input file changed, shrank or vanished while it was being merged."""


class ResumeError(NegmergeError):
    """An unfinished output cannot be continued by this merge."""


class VerificationError(NegmergeError):
    """What was read back from the output differs from what was computed."""


class NativeModuleError(NegmergeError, ImportError):
    """The compiled module is missing or cannot run here."""


def each_problem(problem: NegmergeError) -> tuple[NegmergeError, ...]:
    """The single problems that an exception of :func:`raise_problems` stands for."""
    return problem.problems or (problem,)


def collecting(items: Iterable[T], problems: list[NegmergeError]) -> Iterator[T]:
    """Iterate over items that are made lazily, adding the errors that making one raises to ``problems``.

    The iterator must go on after an error: pass a ``map``, not a generator.
    """
    iterator = iter(items)
    while True:
        try:
            yield next(iterator)
        except StopIteration:
            return
        except NegmergeError as problem:
            problems.extend(each_problem(problem))


def shortened(problems: Iterable[NegmergeError], path: object) -> list[NegmergeError]:
    """At most a screenful of each kind for one checkpoint, and how many more tensors there are."""
    by_kind: dict[type[NegmergeError], list[NegmergeError]] = {}
    for problem in problems:
        by_kind.setdefault(type(problem), []).append(problem)
    kept: list[NegmergeError] = []
    for kind, group in by_kind.items():
        kept += group[:_LISTED]
        if (more := len(group) - _LISTED) > 0:
            rest = kind(f"{more} more {'tensor' if more == 1 else 'tensors'} like these", path=path)
            rest.count = more
            kept.append(rest)
    return kept


def raise_problems(problems: Sequence[NegmergeError]) -> None:
    """Raise what a preflight check found, :func:`together`; return if it found nothing."""
    if problems:
        raise together(problems)


def together(problems: Sequence[NegmergeError]) -> NegmergeError:
    """One exception for at least one problem.

    A single problem is that exception. Several of one kind become one of that kind, otherwise a
    :class:`PreflightError`; in both cases the message lists all of them and ``problems`` holds them.
    """
    if len(problems) == 1:
        return problems[0]
    kinds = {type(problem) for problem in problems}
    kind = kinds.pop() if len(kinds) == 1 else PreflightError
    listing = "\n".join(f"  - {problem}" for problem in problems)
    count = sum(problem.count for problem in problems)
    found = kind(f"{count} problems found before anything was written:\n{listing}")
    found.problems = tuple(problems)
    found.count = count
    return found
