from collections.abc import Sequence

import numpy as np

BLOCK: int
forced_instruction_set: str | None

def merge(
    method: int,
    mode: int,
    scale: float,
    models: int,
    numel: Sequence[int],
    compute: Sequence[int],
    base: Sequence[int],
    base_dtype: Sequence[int],
    finetuned: Sequence[int],
    finetuned_dtype: Sequence[int],
    out: Sequence[int],
    out_dtype: Sequence[int],
    stats: np.ndarray,
    keep: Sequence[int],
    histogram: np.ndarray | None,
    state: Sequence[Sequence[int]],
    begin: bool,
    end: bool,
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
def instruction_sets() -> list[str]: ...
def active_instruction_set() -> str: ...
def select_instruction_set(name: str, /) -> None: ...
