"""What must not change a single bit: threads, cuts, calls, neighbours in the batch, alignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import tuning
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import check, instruction_sets_in_turn, merge
from oracle import BF16, F16, F32, F64
from strategies import METHODS, MODES, Case, cases, offsets, partitions
from values import fill

from negmerge_ext import native


def batch_of_many(mode: str = "negate") -> list[Case]:
    """Tensors from empty to several blocks, of one dtype or several. Threads share even one model of them."""
    rng = np.random.default_rng(8)
    mixes = [
        (F32, (F32, F32, F32)),
        (BF16, (BF16, F16, F32)),
        (F16, (F64, F16, F16)),
        (BF16, (BF16, BF16, BF16)),
        (F16, (F16, F16, F16)),
    ]
    sizes = [0, 3, 160_001, 16_384, 1, 40_000, 0, 5_000, 16_385, 33_000]
    assert 2 * sum(sizes) > tuning.size("kAloneElements")
    batch = []
    for i, size in enumerate(sizes):
        base_dtype, dtypes = mixes[i % len(mixes)]
        base, finetuned = fill(rng, "sprinkled", (size,), base_dtype, dtypes)
        batch.append(Case(base, finetuned, "negmerge", mode, 0.6, base_dtype, f"tensor {i}"))
    return batch


@pytest.mark.parametrize("mode", MODES)
def test_threads(instruction_set: str, mode: str) -> None:
    batch = batch_of_many(mode)
    alone = merge(batch, threads=1, histogram=True)
    check(batch, alone)
    for threads in (2, 3, 8, 33):
        assert merge(batch, threads=threads, histogram=True).same_as(alone)


def test_instruction_sets() -> None:
    results = [merge(batch_of_many()) for _ in instruction_sets_in_turn()]
    assert all(result.same_as(results[0]) for result in results)


def test_company_in_the_batch(instruction_set: str) -> None:
    batch = batch_of_many()
    together = merge(batch, threads=2)
    for i, case in enumerate(batch):
        alone = merge([case], threads=2)
        assert alone.out[0].tobytes() == together.out[i].tobytes()
        assert alone.stats.tobytes() == together.stats[i : i + 1].tobytes()


@pytest.mark.parametrize("offset", [1, 2, 4, 31, 63])
def test_alignment(instruction_set: str, offset: int) -> None:
    batch = batch_of_many()
    assert merge(batch, offset=offset, threads=2).same_as(merge(batch))


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_cuts_between_blocks(instruction_set: str, blocks: int) -> None:
    batch = batch_of_many()
    whole = merge(batch, histogram=True)
    cut = blocks * native.BLOCK
    assert merge(batch, cut=cut, threads=2, histogram=True).same_as(whole)
    assert merge(batch, cut=cut, groups=[1, 2], threads=2, histogram=True).same_as(whole)


@examples(40)
@given(data=st.data(), case=cases(largest=20_000), offset=offsets(), histogram=st.booleans())
def test_calls_that_bring_some_models_each(
    data: st.DataObject, case: Case, offset: int, histogram: bool
) -> None:
    groups = data.draw(partitions(len(case.finetuned)))
    for _ in instruction_sets_in_turn():
        check([case], merge([case], groups=groups, offset=offset, threads=2, histogram=histogram))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [[3], [3, 0], [0, 3], [1, 1, 1], [0, 1, 0, 2, 0]], ids=str)
def test_groups_of_models(instruction_set: str, groups: Sequence[int], method: str) -> None:
    batch = [Case(c.base, c.finetuned, method, "add", 2.5, F32, c.about) for c in batch_of_many()]
    whole = merge(batch, histogram=True)
    check(batch, whole)
    assert merge(batch, groups=groups, threads=2, histogram=True).same_as(whole)
    assert merge(batch, groups=groups, threads=2).same_as(whole)


def test_state_may_end_in_place(instruction_set: str) -> None:
    batch = batch_of_many()
    assert merge(batch, groups=[2, 1], alias="base").same_as(merge(batch))


def test_repeated_runs(instruction_set: str) -> None:
    batch = batch_of_many()
    first = merge(batch, threads=3)
    for _ in range(5):
        assert merge(batch, threads=3).same_as(first)
