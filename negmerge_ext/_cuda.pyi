from collections.abc import Sequence
from typing import Any

from .native import Column

runtime_version: int

class CudaError(RuntimeError): ...

def devices() -> list[dict[str, Any]]: ...
def workspace_bytes(numel: Column, models: int, statistics: bool, /) -> int: ...
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
    state: Sequence[Column],
    begin: bool,
    end: bool,
    workspace: int,
    workspace_size: int,
    stats: int,
    histogram: int,
    /,
) -> None: ...
