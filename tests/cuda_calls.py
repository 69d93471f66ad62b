"""Calls of the CUDA module built with kernels that run on the host: addresses are those of arrays."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
from buffers import Buffer

from negmerge_ext.native import Column, State


def load(path: Path) -> ModuleType:
    """The module of that file, under the name that it was compiled with."""
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Emulated:
    """``native.merge`` as the kernels of the CUDA module do it."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def merge(
        self,
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
    ) -> None:
        """Without ``stats``, no statistics; ``threads`` mean nothing here."""
        given = np.size(finetuned) // max(len(numel), 1)
        size = self.module.workspace_bytes(numel, given, stats is not None)
        workspace = Buffer.unwritten(size, np.uint8)
        self.module.merge(
            *(0, 0, method, mode, scale, models, numel, compute, base, base_dtype),
            *(finetuned, finetuned_dtype, out, out_dtype, keep),
            () if state is None else (state.sum, state.positive, state.negative, state.counts),
            *(begin, end, workspace.address, size),
            0 if stats is None else stats.ctypes.data,
            0 if histogram is None else histogram.ctypes.data,
        )
        workspace.check_guards()
