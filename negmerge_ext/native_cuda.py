"""The compiled CUDA module, typed, loaded when it is used; see ``docs/architecture.md``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from .device_failures import TENSORS, named
from .errors import DeviceError
from .native import Column, Position, State

_NAME = f"{__package__}._cuda"


def is_built() -> bool:
    """Whether this installation has the CUDA module."""
    return find_spec(_NAME) is not None


def module() -> Any:
    """The compiled module; :class:`DeviceError` with the reason if it cannot be loaded."""
    try:
        return import_module(_NAME)
    except ModuleNotFoundError:
        raise DeviceError(
            "this installation was built without CUDA",
            remedy="Build it where nvcc is found (NEGMERGE_CUDA=ON), or give CUDA tensors as .cpu() copies",
        ) from None
    except ImportError as problem:
        raise DeviceError(
            f"the CUDA module cannot be loaded: {problem}", remedy="Give CUDA tensors as .cpu() copies"
        ) from problem


def devices() -> list[dict[str, Any]]:
    """The CUDA devices that this process can use, as plain data; :class:`DeviceError` with CUDA's reason."""
    cuda = module()
    try:
        found: list[dict[str, Any]] = cuda.devices()
    except RuntimeError as problem:
        raise DeviceError(str(problem)) from problem
    return found


def workspace_bytes(numel: Column, models: int, statistics: bool) -> int:
    """Bytes of device memory that :func:`merge` needs for a call with so many models."""
    found: int = module().workspace_bytes(numel, models, statistics)
    return found


def merge(
    *,
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
    workspace: int,
    workspace_size: int,
    keep: Column = (),
    state: State | None = None,
    begin: bool = True,
    end: bool = True,
    stats: int = 0,
    histogram: int = 0,
    thresholds: np.ndarray | Sequence[float] = (),
) -> None:
    """Have a batch of tensors merged on a device; returns when the work is on the stream.

    Arguments are those of :func:`negmerge_ext.native.merge`, with device addresses; stats and histogram are
    addresses, too (0: none), thresholds are in main memory. Raises
    :class:`~negmerge_ext.errors.DeviceMemoryError` and :class:`DeviceError`.
    """
    cuda = module()
    try:
        cuda.merge(
            device,
            stream,
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
            keep,
            () if state is None else (state.values, state.positive, state.negative, state.counts),
            begin,
            end,
            workspace,
            workspace_size,
            stats,
            histogram,
            thresholds,
        )
    except cuda.CudaError as problem:
        raise named(problem, device, TENSORS) from problem


def magnitudes_workspace_bytes(tensors: int, models: int) -> int:
    """Bytes of device memory that :func:`count_magnitudes` needs."""
    found: int = module().magnitudes_workspace_bytes(tensors, models)
    return found


def count_magnitudes(
    *,
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
) -> None:
    """:func:`negmerge_ext.native.count_magnitudes` on a device, whose addresses are given; not waited for."""
    cuda = module()
    try:
        cuda.count_magnitudes(
            device,
            stream,
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
            workspace,
            workspace_size,
            counts,
        )
    except cuda.CudaError as problem:
        raise named(problem, device, TENSORS) from problem


def patch_workspace_bytes(tensors: int) -> int:
    """Bytes of device memory that :func:`remember` and :func:`move` need for so many tensors."""
    found: int = module().patch_workspace_bytes(tensors)
    return found


def remember(rows: np.ndarray, *, device: int, stream: int, workspace: int, workspace_size: int) -> None:
    """:func:`negmerge_ext.native.remember` on a device, whose addresses the rows have; not waited for."""
    cuda = module()
    try:
        cuda.remember(device, stream, rows, workspace, workspace_size)
    except cuda.CudaError as problem:
        raise named(problem, device, TENSORS) from problem


def move(
    rows: np.ndarray,
    source: Sequence[Position],
    target: Position,
    *,
    device: int,
    stream: int,
    workspace: int,
    workspace_size: int,
    misplaced: int,
) -> None:
    """:func:`negmerge_ext.native.move` on a device, whose addresses the rows have; not waited for.

    misplaced: address of an int64 that is zero; what is added to it is the number of elements that are not
    where they should be. If there are any, nothing is moved.
    """
    cuda = module()
    try:
        cuda.move(device, stream, rows, source, target, workspace, workspace_size, misplaced)
    except cuda.CudaError as problem:
        raise named(problem, device, TENSORS) from problem
