"""Merges whose inputs lie in files: the same bits and counts as from memory, and what cannot be read."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16, float8_e4m3fn

from negmerge_ext import dtypes, native
from negmerge_ext.methods import get, methods
from negmerge_ext.stats import NATIVE_STATS

#: Elements: none, less than a pack, some blocks with a ragged end, and more than one piece of any dtype.
SIZES = (0, 7, 3 * native.BLOCK + 5, 9 * native.BLOCK)


class Pool:
    """Random tensors, each input of a tensor in a file of its own (some bytes in) and in memory."""

    def __init__(self, folder: Path, models: int, kinds: tuple[type, ...]) -> None:
        rng = np.random.default_rng(models)
        self.models = models
        self.compute = np.float64 if np.float64 in kinds else np.float32
        self.inputs: list[list[np.ndarray]] = []
        self.files: list[Path] = []
        for number, size in enumerate(SIZES):
            base = rng.standard_normal(size)
            row = []
            for k in range(models + 1):
                delta = np.abs(rng.standard_normal(size)) * np.where(rng.random(size) < 0.9, 1, -1)
                row.append((base + delta if k else base).astype(kinds[(k + number) % len(kinds)]))
                path = folder / f"{number}.{k}"
                path.write_bytes(bytes(number + 3) + row[-1].tobytes())
                self.files.append(path)
            self.inputs.append(row)

    def merge(
        self, in_file: np.ndarray, files: list[tuple[int, bytes]], threads: int, method: str = "negmerge"
    ) -> dict[str, Any]:
        """in_file: bool ``[tensors, 1 + N]``, which inputs are read from their files."""
        merged_by = get(method)
        thresholds = np.linspace(0.1, 1.5, len(SIZES) * self.models).astype(np.float32)
        address = np.array([[x.ctypes.data for x in row] for row in self.inputs], np.int64)
        offset = np.arange(len(SIZES))[:, None] + 3
        place = np.where(in_file, offset, address)
        number = np.where(in_file, np.arange(in_file.size).reshape(in_file.shape), -1)
        code = np.array([[dtypes.CODES[dtypes.from_numpy(x.dtype)] for x in row] for row in self.inputs])
        out = [np.empty(size, self.compute) for size in SIZES]
        keep = [np.empty(-(-size // 16), np.uint16) for size in SIZES]
        stats = np.zeros(len(SIZES), NATIVE_STATS)
        histogram = np.zeros((len(SIZES), self.models + 1), np.int64)
        compute = dtypes.CODES[dtypes.from_numpy(np.dtype(self.compute))]
        native.merge(
            method=merged_by.code,
            mode=0,
            scale=0.3,
            models=self.models,
            numel=SIZES,
            compute=[compute] * len(SIZES),
            base=place[:, 0],
            base_dtype=code[:, 0],
            finetuned=place[:, 1:],
            finetuned_dtype=code[:, 1:],
            out=[x.ctypes.data for x in out],
            out_dtype=[compute] * len(SIZES),
            stats=stats,
            keep=[x.ctypes.data for x in keep],
            histogram=histogram,
            threads=threads,
            files=files,
            base_file=number[:, 0],
            finetuned_file=number[:, 1:],
            thresholds=thresholds if merged_by.trim else (),
        )
        return {"out": out, "keep": keep, "stats": stats, "histogram": histogram}


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    whole = all(left[part].tobytes() == right[part].tobytes() for part in ("stats", "histogram"))
    parts = (pair for part in ("out", "keep") for pair in zip(left[part], right[part], strict=True))
    return whole and all(one.tobytes() == other.tobytes() for one, other in parts)


def opened(paths: list[Path], stack: ExitStack) -> Iterator[tuple[int, bytes]]:
    for path in paths:
        yield stack.enter_context(path.open("rb")).fileno(), os.fsencode(path)


@pytest.mark.parametrize("kinds", [(np.float32,), (bfloat16,), (np.float32, np.float16, np.float64)])
@pytest.mark.parametrize("models", [1, 3, 8, 37])
def test_the_same_bits_and_counts_as_from_memory(
    models: int, kinds: tuple[type, ...], tmp_path: Path
) -> None:
    """More models than fit a thread's scratch, too; and with some of the inputs in memory."""
    pool = Pool(tmp_path, models, kinds)
    shape = (len(SIZES), models + 1)
    expected = pool.merge(np.zeros(shape, bool), [], 1)
    assert expected["stats"]["kept"][-1] > 0
    some = np.random.default_rng(0).random(shape) < 0.5
    with ExitStack() as stack:
        files = list(opened(pool.files, stack))
        for threads in (1, 3):
            assert same(pool.merge(np.ones(shape, bool), files, threads), expected)
            assert same(pool.merge(some, files, threads), expected)
    by_path = [(-1, path) for _, path in files]
    assert same(pool.merge(np.ones(shape, bool), by_path, 2), expected)


@pytest.mark.parametrize("kinds", [(np.float32,), (float8_e4m3fn,), (np.float64,)])
@pytest.mark.parametrize("method", sorted(methods()))
def test_every_method_in_groups_of_models(method: str, kinds: tuple[type, ...], tmp_path: Path) -> None:
    pool = Pool(tmp_path, 37, kinds)
    shape = (len(SIZES), 38)
    expected = pool.merge(np.zeros(shape, bool), [], 1, method)
    assert expected["stats"]["kept"][-1] > 0
    files = [(-1, os.fsencode(path)) for path in pool.files]
    assert same(pool.merge(np.ones(shape, bool), files, 2, method), expected)


class TestErrors:
    @pytest.fixture
    def pool(self, tmp_path: Path) -> Pool:
        return Pool(tmp_path, 2, (np.float32,))

    def failure(self, pool: Pool, files: list[tuple[int, bytes]], threads: int = 2) -> tuple[int, int, int]:
        with pytest.raises(native.ReadError) as caught:
            pool.merge(np.ones((len(SIZES), 3), bool), files, threads)
        number, offset, code = caught.value.args
        return number, offset, code

    def test_a_file_that_ends_too_early(self, pool: Pool) -> None:
        victim = pool.files[-1]
        os.truncate(victim, 1000)
        # Of two threads either may come first to a part that is missing.
        found = self.failure(pool, [(-1, bytes(path)) for path in pool.files], threads=1)
        assert found == (len(pool.files) - 1, 1000, 0)

    def test_a_file_that_is_gone(self, pool: Pool) -> None:
        pool.files[4].unlink()
        number, _, code = self.failure(pool, [(-1, bytes(path)) for path in pool.files])
        assert (number, code) == (4, errno.ENOENT)

    def test_a_descriptor_that_cannot_be_read(self, pool: Pool, tmp_path: Path) -> None:
        with ExitStack() as stack:
            files = list(opened(pool.files, stack))
            files[7] = (stack.enter_context((tmp_path / "new").open("wb")).fileno(), files[7][1])
            number, _, code = self.failure(pool, files)
        assert (number, code) == (7, errno.EBADF)

    def test_numbers_of_files_that_are_not_there(self, pool: Pool) -> None:
        with pytest.raises(ValueError, match="no such file"):
            pool.merge(np.ones((len(SIZES), 3), bool), [(-1, bytes(pool.files[0]))], 1)
