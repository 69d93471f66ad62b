"""Cases for ``run_cases.cpp`` and what it makes of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import tuning
from kernel_calls import check_statistics, code, difference, packed_bits
from oracle import DTYPES
from strategies import METHODS, MODES, Case
from values import KINDS, fill

from negmerge_ext.methods import get as get_method
from negmerge_ext.options import MODES as MODE_CODES
from negmerge_ext.stats import NATIVE_STATS

#: Elements of a tensor with a base and three models that are worth several threads.
SHARED = tuning.size("kAloneElements") // 4 + 1


def random_cases(seed: int, number: int) -> list[Case]:
    """Cases that go through kinds, dtypes, methods, modes and sizes in ever new combinations."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(number):
        size = int(rng.choice([rng.integers(0, 70), rng.integers(900, 1200), rng.integers(16_300, 17_000)]))
        if i % 30 == 29:  # one that threads share
            size = SHARED + i
        models = int(rng.choice([1, 2, 3, 5, 8, 9, 17] if size < 2000 else [3, 3, 3, 17]))
        base_dtype = DTYPES[i % 6]
        alike = rng.random() < 0.5
        dtypes = tuple(DTYPES[(i // 6 + (0 if alike else k)) % 6] for k in range(models))
        kind = KINDS[int(rng.integers(len(KINDS)))]
        base, finetuned = fill(rng, kind, (size,), base_dtype, dtypes)
        case = Case(base, finetuned, METHODS[i * 7 // 3 % len(METHODS)], MODES[i % 3], float(rng.normal()))
        out_dtype = DTYPES[int(rng.integers(6))] if i % 2 else base_dtype
        about = f"case {i}: {kind} {size} {base_dtype} <- {dtypes} -> {out_dtype}"
        cases.append(replace(case, out_dtype=out_dtype, about=about))
    return cases


def write_cases(path: Path, cases: Sequence[Case], instruction_set: str) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(instruction_set)) + instruction_set.encode())
        file.write(struct.pack("<Q", len(cases)))
        for i, case in enumerate(cases):
            models = len(case.finetuned)
            compute = code(oracle.compute_dtype([case.base, *case.finetuned]))
            file.write(struct.pack("<QQd", get_method(case.method).code, MODE_CODES[case.mode], case.scale))
            first_models, offset, threads = (i % (models + 1)) or models, (i * 7) % 64, 1 + i % 3
            file.write(struct.pack("<QQQQ", models, first_models, offset, threads))
            file.write(struct.pack("<QQQ", case.base.size, compute, code(case.out_dtype)))
            file.write(struct.pack("<Q", code(case.base.dtype)) + case.base.tobytes())
            file.write(np.array(case.thresholds(), np.float64).tobytes())
            for array in case.finetuned:
                file.write(struct.pack("<Q", code(array.dtype)) + array.tobytes())


def check_results(path: Path, cases: Sequence[Case]) -> None:
    """Everything that was written is what the oracle says."""
    with path.open("rb") as file:

        def take(count: int, dtype: np.dtype) -> np.ndarray:
            return np.frombuffer(file.read(count * dtype.itemsize), dtype)

        for case in cases:
            size = case.base.size
            found, applied = take(size, case.out_dtype), take(size, case.out_dtype)
            moved = take(size, case.base.dtype)
            expected = case.expected()
            assert oracle.same_bits(found, expected), difference(case, found, expected)
            _, keep = oracle.task_vector(case.base, case.finetuned, method=case.method)
            from_patch = replace(case, mode="add" if case.mode == "vector" else case.mode)
            expected = from_patch.expected()
            assert oracle.same_bits(applied, expected), difference(from_patch, applied, expected)
            in_place = replace(from_patch, out_dtype=case.base.dtype)
            expected = in_place.expected()
            assert oracle.same_bits(moved, expected), difference(in_place, moved, expected)
            bits = packed_bits(keep)
            assert np.array_equal(take(bits.size, bits.dtype), bits), case.about
            check_statistics(case, take(1, NATIVE_STATS)[0])
            histogram = take(len(case.finetuned) + 1, np.dtype(np.int64))
            assert np.array_equal(histogram, oracle.agreement(case.base, case.finetuned)), case.about
        assert file.read() == b""
