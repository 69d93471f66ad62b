"""The k-th magnitude by counting, against sorting."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import oracle
import pytest
from buffers import Buffer
from cuda_calls import turned_round
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import code, instruction_sets_in_turn
from oracle import BF16, DTYPES, E4M3, E5M2, F16, F32, F64
from values import KINDS, fill

from negmerge_ext import native
from negmerge_ext.engine.selection import Selection, rank_of_threshold, rounded_up


def selected(
    base: np.ndarray, finetuned: list[np.ndarray], ranks: list[int], *, wide: bool, threads: int = 1
) -> np.ndarray:
    """By counts of the native kernel, of two parts of the tensor."""
    selection = Selection(ranks, wide=wide)
    compute = code(oracle.compute_dtype([base, *finetuned]))
    half = base.size // 2 // native.BLOCK * native.BLOCK
    for shift, bits in selection.digits:
        counts = np.zeros((len(finetuned), 1 << bits), np.int64)
        for part in (slice(0, half), slice(half, base.size)):
            parts = [np.ascontiguousarray(x.reshape(-1)[part]) for x in (base, *finetuned)]
            native.count_magnitudes(
                numel=[parts[0].size],
                compute=[compute],
                base=[parts[0].ctypes.data],
                base_dtype=[code(base.dtype)],
                finetuned=[x.ctypes.data for x in parts[1:]],
                finetuned_dtype=[code(x.dtype) for x in parts[1:]],
                prefixes=selection.prefixes,
                shift=shift,
                bits=bits,
                wide=wide,
                counts=counts,
                threads=threads,
            )
        selection.narrow(counts)
    return selection.found


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.sampled_from([1, 2, 15, 1025, 40_000]), kind=st.sampled_from(KINDS))
def test_is_what_sorting_finds(data: st.DataObject, size: int, kind: str) -> None:
    dtypes = data.draw(st.lists(st.sampled_from(DTYPES), min_size=2, max_size=4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    base, finetuned = fill(rng, kind, (size,), dtypes[0], tuple(dtypes[1:]))
    vectors = oracle.deltas(base, finetuned)
    ranks = [data.draw(st.integers(1, size)) for _ in finetuned]
    wide = vectors[0].dtype == F64 or data.draw(st.booleans())
    expected = [np.sort(np.abs(v))[rank - 1] for v, rank in zip(vectors, ranks, strict=True)]
    found = selected(base, list(finetuned), ranks, wide=wide, threads=data.draw(st.integers(1, 3)))
    np.testing.assert_array_equal(found, np.array(expected, F64))


def test_is_the_same_on_all_instruction_sets_and_threads() -> None:
    base, finetuned = fill(np.random.default_rng(5), "sprinkled", (700_001,), F32, (F32, F32))
    ranks, found = [123_456, 700_000], []
    for _ in instruction_sets_in_turn():
        found += [selected(base, list(finetuned), ranks, wide=False, threads=threads) for threads in (1, 2)]
    for other in found[1:]:
        assert other.tobytes() == found[0].tobytes()


@pytest.mark.parametrize(
    ("numel", "density", "rank"), [(10, 0.2, 8), (10, 1.0, 0), (9, 0.2, 8), (4, 0.2, 4), (1, 0.5, 1)]
)
def test_rank_of_the_threshold(numel: int, density: float, rank: int) -> None:
    assert rank_of_threshold(numel, density) == rank


def test_rounding_up_to_single_precision() -> None:
    single = np.float32(0.1)
    above = np.nextafter(np.float64(single), np.inf)
    largest = np.finfo(np.float32).max
    wide = np.array([single, above, largest, 1e300, np.inf, np.nan, 0.0, 1e-300], F64)
    expected = [single, np.nextafter(single, np.float32(1)), largest, np.inf, np.inf, np.nan, 0.0, 2.0**-149]
    np.testing.assert_array_equal(rounded_up(wide), np.array(expected, F64))


@pytest.mark.parametrize(
    "changes",
    [{"shift": 16}, {"bits": 17}, {"bits": 0}, {"counts": np.zeros((1, 4), np.int64)}, {"compute": [0]}],
    ids=str,
)
def test_digits_that_do_not_exist_are_refused(changes: dict[str, object]) -> None:
    array = np.zeros(4, F32)
    arguments: dict[str, object] = {
        "numel": [4],
        "compute": [code(F32)],
        "base": [array.ctypes.data],
        "base_dtype": [code(F32)],
        "finetuned": [array.ctypes.data],
        "finetuned_dtype": [code(F32)],
        "prefixes": [0],
        "shift": 15,
        "bits": 16,
        "wide": False,
        "counts": np.zeros((1, 1 << 16), np.int64),
    }
    with pytest.raises(ValueError):  # noqa: PT011  (every case has a message of its own)
        native.count_magnitudes(**(arguments | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("wide", [False, True])
def test_a_device_counts_what_the_cpu_counts(emulated_cuda: ModuleType, wide: bool) -> None:
    rng = np.random.default_rng(9)
    mixes = [(F32, (F32, F16, E5M2)), (BF16, (BF16, E4M3, F32)), (F16, (F16, F16, F16))]
    if wide:
        mixes += [(F64, (F32, F64, F64)), (E4M3, (F64, F32, BF16))]
    tensors = [
        fill(rng, "sprinkled", (size,), base, dtypes)
        for size, (base, dtypes) in zip([40_000, 0, 33, 5, 16_385], mixes, strict=False)
    ]
    arguments = {
        "numel": [base.size for base, _ in tensors],
        "compute": [code(oracle.compute_dtype([base, *models])) for base, models in tensors],
        "base": [base.ctypes.data for base, _ in tensors],
        "base_dtype": [code(base.dtype) for base, _ in tensors],
        "finetuned": [model.ctypes.data for _, models in tensors for model in models],
        "finetuned_dtype": [code(model.dtype) for _, models in tensors for model in models],
        "prefixes": [0, 0, 0],
        "shift": 47 if wide else 15,
        "bits": 16,
        "wide": wide,
    }
    expected, found = np.zeros((2, 3, 1 << 16), np.int64)
    native.count_magnitudes(**arguments, counts=expected)
    module = emulated_cuda
    workspace = Buffer.unwritten(module.magnitudes_workspace_bytes(len(tensors), 3), np.uint8)
    rest = (workspace.address, workspace.nbytes, found.ctypes.data)
    with turned_round(module):
        module.count_magnitudes(0, 0, *arguments.values(), *rest)
    workspace.check_guards()
    assert found.sum() == 3 * sum(base.size for base, _ in tensors)
    assert np.array_equal(found, expected)
    too_small = (workspace.address, 64, found.ctypes.data)
    with pytest.raises(ValueError, match="workspace"):
        module.count_magnitudes(0, 0, *arguments.values(), *too_small)
