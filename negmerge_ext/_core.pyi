from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_Column = np.ndarray | Sequence[int]

BLOCK: int
SCRATCH: int
MOST_COUNTED: int
#: Of each method, by code: name, running values, whether it looks at signs, whether it has thresholds.
METHODS: tuple[tuple[str, int, bool, bool], ...]
forced_instruction_set: str | None

class ReadError(Exception): ...

def merge(
    method: int,
    mode: int,
    scale: float,
    models: int,
    numel: _Column,
    compute: _Column,
    base: _Column,
    base_dtype: _Column,
    finetuned: _Column,
    finetuned_dtype: _Column,
    out: _Column,
    out_dtype: _Column,
    stats: np.ndarray | None,
    keep: _Column,
    histogram: np.ndarray | None,
    state: Sequence[_Column],
    begin: bool,
    end: bool,
    threads: int,
    files: Sequence[tuple[int, bytes]],
    base_file: _Column,
    finetuned_file: _Column,
    thresholds: np.ndarray | Sequence[float],
    /,
) -> None: ...
def count_magnitudes(
    numel: _Column,
    compute: _Column,
    base: _Column,
    base_dtype: _Column,
    finetuned: _Column,
    finetuned_dtype: _Column,
    prefixes: Sequence[int],
    shift: int,
    bits: int,
    wide: bool,
    counts: np.ndarray,
    threads: int,
    /,
) -> None: ...
def apply_patch(
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
    threads: int,
    /,
) -> None: ...
def gather(numel: int, itemsize: int, source: int, keep: int, destination: int, /) -> int: ...
def count(numel: int, keep: int, /) -> int: ...
def kept_before(numel: int, keep: int, /) -> np.ndarray: ...
def remember(rows: np.ndarray, threads: int, /) -> None: ...
def move(
    rows: np.ndarray,
    source: Sequence[tuple[bool, int, float]],
    target: tuple[bool, int, float],
    threads: int,
    /,
) -> bool: ...
def populate(address: _Column, nbytes: _Column, threads: int, /) -> None: ...
def copy(source: _Column, destination: _Column, nbytes: _Column, threads: int, /) -> None: ...
def scan(
    names: tuple[str, ...],
    values: tuple[object, ...],
    exchange: object,
    kinds: tuple[type, ...],
    negated: Callable[[Any], bool],
    numbers: np.ndarray,
    bytes: Mapping[Any, int],
    /,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, bytes, np.ndarray | None] | None: ...
def instruction_sets() -> list[str]: ...
def active_instruction_set() -> str: ...
def select_instruction_set(name: str, /) -> None: ...
