"""The compiled module, typed. ``docs/architecture.md`` describes the interface."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from .errors import NativeModuleError, OptionError

try:
    from . import _core
except ImportError as problem:
    remedy = "Install the package (pip install . in its folder) with the Python that runs it"
    if str(problem).startswith("NEGMERGE_ISA"):
        remedy = "Unset the environment variable to let the CPU decide"
    raise NativeModuleError(f"the compiled module cannot be loaded: {problem}", remedy=remedy) from problem

#: Elements of the blocks that statistics are summed in; a tensor may be cut at its multiples.
BLOCK: int = _core.BLOCK

#: Bytes that each thread of a merge takes for what it reads from files.
SCRATCH: int = _core.SCRATCH

#: Models that a histogram takes at most.
MOST_COUNTED: int = _core.MOST_COUNTED

#: A file that cannot be read: its number, a byte offset, and the system's errno (0: the file ends there).
ReadError = _core.ReadError


#: Whole numbers by tensor, as an array (taken as it is if its dtype is right) or anything that makes one.
Column: TypeAlias = np.ndarray | Sequence[int]

#: One patched tensor in memory. Addresses: of its ``elements``, the keep bits, the values, the base's bits of
#: the kept elements, and what :func:`kept_before` says.
PATCHED = np.dtype(
    [
        *((name, "<u8") for name in ("elements", "keep", "values", "base", "kept_before", "numel")),
        *((name, "<i4") for name in ("dtype", "compute")),
    ]
)


@dataclass(frozen=True, slots=True)
class State:
    """Addresses, per tensor, of an unfinished merge's running values, sign masks and numbers of signs."""

    values: Column
    positive: Column = ()
    negative: Column = ()
    counts: Column = ()


def merge(
    *,
    method: int,
    mode: int,
    scale: float,
    models: int,
    numel: Column,
    compute: Column,
    base: Column,
    base_dtype: Column,
    finetuned: Column,
    finetuned_dtype: Column,
    out: Column,
    out_dtype: Column,
    stats: np.ndarray | None = None,
    keep: Column = (),
    histogram: np.ndarray | None = None,
    state: State | None = None,
    begin: bool = True,
    end: bool = True,
    threads: int = 0,
    files: Sequence[tuple[int, bytes]] = (),
    base_file: Column = (),
    finetuned_file: Column = (),
    thresholds: np.ndarray | Sequence[float] = (),
) -> None:
    """Merge a batch of tensors given by address; see ``docs/architecture.md``.

    Addresses and element counts are int64, codes uint8, file numbers int32, thresholds float64;
    ``finetuned``, ``finetuned_dtype``, ``finetuned_file`` and, if the method trims, ``thresholds`` are
    ``[tensors, models]``, flat or not. Raises
    :data:`ReadError` for a file that cannot be read.
    """
    _core.merge(
        method,
        mode,
        scale,
        models,
        numel,
        compute,
        base,
        base_dtype,
        finetuned,
        finetuned_dtype,
        out,
        out_dtype,
        stats,
        keep,
        histogram,
        () if state is None else (state.values, state.positive, state.negative, state.counts),
        begin,
        end,
        threads or default_threads(),
        files,
        base_file,
        finetuned_file,
        thresholds,
    )


def count_magnitudes(
    *,
    numel: Column,
    compute: Column,
    base: Column,
    base_dtype: Column,
    finetuned: Column,
    finetuned_dtype: Column,
    prefixes: Sequence[int],
    shift: int,
    bits: int,
    wide: bool,
    counts: np.ndarray,
    threads: int = 0,
) -> None:
    """Count the magnitudes of all differences of each model by some of their bits.

    Columns are those of :func:`merge`, all in main memory. A magnitude's bits are those of |δ| as an fp32
    number, or with ``wide`` as an fp64 number (which tensors computed in fp64 need). Where the bits from
    ``shift + bits`` on are the model's prefix, the number in the ``bits`` bits from ``shift`` on is counted:
    ``counts`` is int64 ``[models, 2 ** bits]``, added to.
    """
    _core.count_magnitudes(
        numel,
        compute,
        base,
        base_dtype,
        finetuned,
        finetuned_dtype,
        prefixes,
        shift,
        bits,
        wide,
        counts,
        threads or default_threads(),
    )


def apply_patch(
    *,
    mode: int,
    scale: float,
    numel: int,
    compute: int,
    base: int,
    base_dtype: int,
    out: int,
    out_dtype: int,
    keep: int,
    values: int,
    threads: int = 0,
) -> None:
    """Write base ∓ scale · value where the keep bit is set, the base's own value elsewhere."""
    _core.apply_patch(
        mode,
        scale,
        numel,
        compute,
        base,
        base_dtype,
        out,
        out_dtype,
        keep,
        values,
        threads or default_threads(),
    )


def gather(numel: int, itemsize: int, source: int, keep: int, destination: int) -> int:
    """Pack the raw elements of ``source`` under the keep bits; return their number."""
    return _core.gather(numel, itemsize, source, keep, destination)


def count(numel: int, keep: int) -> int:
    """Number of keep bits set."""
    return _core.count(numel, keep)


def kept_before(numel: int, keep: int) -> np.ndarray:
    """int64 ``[blocks + 1]``: keep bits set before each block of :data:`BLOCK` elements, and all of them."""
    return _core.kept_before(numel, keep)


class Position(NamedTuple):
    """Where the kept elements of a patched tensor stand: at the base, or moved by ``scale`` in a ``mode``."""

    base: bool
    mode: int = 0
    scale: float = 0.0


def remember(rows: np.ndarray, *, threads: int = 0) -> None:
    """Copy the kept elements of tensors, given by rows of :data:`PATCHED`, to their ``base``."""
    _core.remember(rows, threads or default_threads())


def move(rows: np.ndarray, source: Sequence[Position], target: Position, *, threads: int = 0) -> bool:
    """Move the kept elements of tensors, given by rows of :data:`PATCHED`, to the position ``target``.

    source: where they are, one position; or two, each element being at one of them. ``False`` if any is
    not: nothing is changed then (elements at the second of two positions may have been put at the first).
    Cut short by a signal handler's exception, every element is where it was or at the target.
    """
    return _core.move(rows, source, target, threads or default_threads())


def populate(start: np.ndarray, nbytes: np.ndarray, threads: int = 0) -> None:
    """Have the system give memory that nobody has written yet; stretches below 4 MiB are left alone."""
    _core.populate(start, nbytes, threads or default_threads())


def copy(source: np.ndarray, destination: np.ndarray, nbytes: np.ndarray, threads: int = 0) -> None:
    """Copy areas of memory, int64 addresses and bytes, that do not overlap."""
    _core.copy(source, destination, nbytes, threads or default_threads())


def scan(
    names: tuple[str, ...],
    values: tuple[object, ...],
    exchange: object,
    kinds: tuple[type, ...],
    negated: Callable[[Any], bool],
    numbers: np.ndarray,
    bytes_: Mapping[Any, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, bytes, np.ndarray | None] | None:
    """Where ordinary tensors lie, by their library's DLPack exchange API; see ``csrc/bindings/scan.h``.

    Gives addresses (int64), numbers of dtypes (int64), whether packed in row-major order (bool), numbers of
    elements (int64), bytes (int64), dimensions and sizes of all (bytes of int64), and numbers of CUDA devices
    (int64, -1: CPU; ``None``: all are on the CPU); ``None`` if anything is not ordinary.
    """
    return _core.scan(names, values, exchange, kinds, negated, numbers, bytes_)


def instruction_sets() -> tuple[str, ...]:
    """Instruction sets compiled in that this CPU can run, slowest first."""
    return tuple(_core.instruction_sets())


def active_instruction_set() -> str:
    """The instruction set in use."""
    return _core.active_instruction_set()


def forced_instruction_set() -> str | None:
    """What NEGMERGE_ISA asked for when the compiled module was loaded."""
    return _core.forced_instruction_set


def select_instruction_set(name: str) -> None:
    """Use ``name`` from now on, in the whole process; :class:`OptionError` if it cannot run here."""
    if name not in instruction_sets():
        raise OptionError(
            f"instruction set {name!r} cannot be used here",
            remedy=f"Use one of {', '.join(instruction_sets())}",
        )
    _core.select_instruction_set(name)


def default_threads() -> int:
    """Threads a merge uses unless told: torch's number if torch is loaded, else what the process may use."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
