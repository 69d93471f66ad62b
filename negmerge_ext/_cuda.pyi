from collections.abc import Sequence
from typing import Any

import numpy as np

from .native import Column, Position

runtime_version: int

class CudaError(RuntimeError):
    """What CUDA refused or failed to do; ``args`` are its message and its code."""

def devices() -> list[dict[str, Any]]: ...
def workspace_bytes(numel: Column, models: int, statistics: bool) -> int: ...
def merge(
    device: int,
    stream: int,
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
    keep: Column,
    state: tuple[()] | tuple[Column, Column, Column, Column],
    begin: bool,
    end: bool,
    workspace: int,
    workspace_size: int,
    stats: int,
    histogram: int,
    thresholds: np.ndarray | Sequence[float],
) -> None: ...
def magnitudes_workspace_bytes(tensors: int, models: int) -> int: ...
def count_magnitudes(
    device: int,
    stream: int,
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
    workspace: int,
    workspace_size: int,
    counts: int,
) -> None: ...
def patch_workspace_bytes(tensors: int) -> int: ...
def remember(device: int, stream: int, rows: np.ndarray, workspace: int, workspace_size: int) -> None: ...
def move(
    device: int,
    stream: int,
    rows: np.ndarray,
    source: Sequence[Position],
    target: Position,
    workspace: int,
    workspace_size: int,
    misplaced: int,
) -> None: ...
def least_slot(models: int, histogram: bool, /) -> int: ...
def worker_memory(slot: int, /) -> tuple[int, int]: ...

class ReadError(Exception): ...

class FileMerger:
    def __init__(self, device: int, workers: int, slot: int, /) -> None: ...
    def merge(
        self,
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
        stats: np.ndarray,
        keep: Column,
        histogram: np.ndarray | None,
        files: Sequence[tuple[int, bytes]],
        base_file: Column,
        finetuned_file: Column,
        thresholds: np.ndarray | Sequence[float],
    ) -> None: ...
    def close(self) -> None: ...
