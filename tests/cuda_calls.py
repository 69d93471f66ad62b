"""Calls of the CUDA module built with kernels that run on the host: addresses are those of arrays."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import oracle
from buffers import Buffer
from kernel_calls import Result, difference
from kernel_calls import merge as merge_cases
from strategies import Case

from negmerge_ext.native import Column, Position, State


def load(path: Path) -> ModuleType:
    """The module of that file, under the name that it was compiled with."""
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def turned_round(module: ModuleType, on: bool = True) -> Iterator[None]:
    """Blocks of a launch, and threads of a block within a phase, have their turn from last to first."""
    library = _library(module)
    library.emulated_backwards(int(on))
    try:
        yield
    finally:
        library.emulated_backwards(0)


def kernels_not_launched(module: ModuleType) -> list[str]:
    """The kernels that were not launched since this was asked before."""
    names = ctypes.create_string_buffer(1 << 16)
    assert _library(module).emulated_kernels(names, len(names)) > 0
    return names.value.decode().splitlines()


def _library(module: ModuleType) -> ctypes.CDLL:
    assert module.__file__ is not None
    return ctypes.CDLL(module.__file__)


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
        thresholds: Sequence[float] = (),
    ) -> None:
        """Without ``stats``, no statistics; ``threads`` mean nothing here."""
        given = np.size(finetuned) // max(len(numel), 1)
        size = self.module.workspace_bytes(numel, given, stats is not None)
        workspace = Buffer.unwritten(size, np.uint8)
        self.module.merge(
            *(0, 0, method, mode, scale, models, numel, compute, base, base_dtype),
            *(finetuned, finetuned_dtype, out, out_dtype, keep),
            () if state is None else (state.values, state.positive, state.negative, state.counts),
            *(begin, end, workspace.address, size),
            0 if stats is None else stats.ctypes.data,
            0 if histogram is None else histogram.ctypes.data,
            thresholds,
        )
        workspace.check_guards()


class Merges:
    """Merges of cases by the emulated module."""

    def __init__(self, module: ModuleType) -> None:
        self.emulated = Emulated(module)

    def __call__(self, batch: Sequence[Case], **options: Any) -> Result:
        return merge_cases(batch, by=self.emulated.merge, whole_items=True, **options)

    def turned_round(self, on: bool = True) -> AbstractContextManager[None]:
        return turned_round(self.emulated.module, on)

    def check_plain(self, batch: Sequence[Case], **options: Any) -> None:
        """Merge without asking for anything but the output, and check that."""

        def by(*, stats: object, **arguments: Any) -> None:
            self.emulated.merge(**arguments)

        result = merge_cases(batch, by=by, whole_items=True, keep=False, **options)
        for case, found in zip(batch, result.out, strict=True):
            expected = case.expected()
            assert oracle.same_bits(found, expected), difference(case, found, expected)
            if case.mode != "vector" and case.out_dtype == case.base.dtype:
                _, keep = oracle.task_vector(case.base, case.finetuned, method=case.method)
                assert np.array_equal(oracle.bits(found)[~keep], oracle.bits(case.base)[~keep]), case.about


class Moves:
    """``native.remember`` and ``native.move`` as the kernels of the CUDA module do them."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def remember(self, rows: np.ndarray) -> None:
        workspace = self._workspace(rows)
        self.module.remember(0, 0, rows, workspace.address, workspace.nbytes)
        workspace.check_guards()

    def move(self, rows: np.ndarray, source: Sequence[Position], target: Position) -> bool:
        workspace, misplaced = self._workspace(rows), np.zeros(1, np.int64)
        self.module.move(
            *(0, 0, rows, source, target, workspace.address, workspace.nbytes, misplaced.ctypes.data)
        )
        workspace.check_guards()
        return not misplaced[0]

    def _workspace(self, rows: np.ndarray) -> Buffer:
        return Buffer.unwritten(self.module.patch_workspace_bytes(rows.size), np.uint8)
