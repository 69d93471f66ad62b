"""What must not change a bit that CUDA kernels write: cuts, calls, neighbours in the batch, alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cuda_calls import Merges
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import check
from kernel_calls import merge as merge_on_cpu
from oracle import BF16, E4M3, F16, F32, F64
from strategies import METHODS, Case, cases, offsets, partitions
from values import fill

from negmerge_ext import native
from negmerge_ext.stats import NATIVE_STATS


def batch_of_many(mode: str = "negate") -> list[Case]:
    """Tensors from empty to several blocks; some of one dtype, some of several, for every kernel there is."""
    rng = np.random.default_rng(8)
    mixes = [
        (F32, (F32, F32, F32)),
        (BF16, (BF16, F16, F32)),
        (F16, (F64, F16, F16)),
        (BF16, (BF16, BF16, BF16)),
        (F64, (F64, F64, F64)),
        (E4M3, (E4M3, E4M3, E4M3)),
        (F16, (F16, F16, F16)),
    ]
    sizes = [0, 3, 70_001, 16_384, 1, 40_000, 0, 5_000, 16_385, 33_000, 33_001, 2_000, 9]
    batch = []
    for i, size in enumerate(sizes):
        base_dtype, dtypes = mixes[i % len(mixes)]
        base, finetuned = fill(rng, "sprinkled", (size,), base_dtype, dtypes)
        batch.append(Case(base, finetuned, "negmerge", mode, 0.6, base_dtype, f"tensor {i}"))
    return batch


def test_same_as_on_the_cpu(merge_on_cuda: Merges) -> None:
    batch = batch_of_many()
    assert merge_on_cuda(batch, histogram=True).same_as(merge_on_cpu(batch, histogram=True))
    merge_on_cuda.check_plain(batch)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_blocks_and_threads(merge_on_cuda: Merges, method: str) -> None:
    batch = [replace(case, method=method) for case in batch_of_many()]
    ways: list[dict[str, Any]] = [{"histogram": True}, {"groups": [1, 2], "histogram": True}]
    whole = [merge_on_cuda(batch, **way) for way in ways]
    with merge_on_cuda.turned_round():
        for way, expected in zip(ways, whole, strict=True):
            assert merge_on_cuda(batch, **way).same_as(expected)
        merge_on_cuda.check_plain(batch)


def test_company_in_the_batch(merge_on_cuda: Merges) -> None:
    batch = batch_of_many()
    together = merge_on_cuda(batch)
    for i, case in enumerate(batch):
        alone = merge_on_cuda([case])
        assert alone.out[0].tobytes() == together.out[i].tobytes()
        assert alone.stats.tobytes() == together.stats[i : i + 1].tobytes()


@pytest.mark.parametrize("offset", [2, 4, 8, 34, 56])
def test_alignment(merge_on_cuda: Merges, offset: int) -> None:
    batch = batch_of_many()
    assert merge_on_cuda(batch, offset=offset).same_as(merge_on_cuda(batch))
    merge_on_cuda.check_plain(batch, offset=offset)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_cuts_between_blocks(merge_on_cuda: Merges, blocks: int) -> None:
    batch = batch_of_many()
    whole = merge_on_cuda(batch, histogram=True)
    cut = blocks * native.BLOCK
    assert merge_on_cuda(batch, cut=cut, histogram=True).same_as(whole)
    assert merge_on_cuda(batch, cut=cut, groups=[1, 2], histogram=True).same_as(whole)


@examples(60)
@given(data=st.data(), case=cases(largest=20_000), offset=offsets(), histogram=st.booleans())
def test_calls_that_bring_some_models_each(
    merge_on_cuda: Merges, data: st.DataObject, case: Case, offset: int, histogram: bool
) -> None:
    groups = data.draw(partitions(len(case.finetuned)))
    check([case], merge_on_cuda([case], groups=groups, offset=offset, histogram=histogram))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("groups", [[3], [3, 0], [0, 3], [1, 1, 1], [0, 1, 0, 2, 0]], ids=str)
def test_groups_of_models(merge_on_cuda: Merges, groups: Sequence[int], method: str) -> None:
    batch = [Case(c.base, c.finetuned, method, "add", 2.5, F32, c.about) for c in batch_of_many()]
    whole = merge_on_cuda(batch, histogram=True)
    check(batch, whole)
    assert merge_on_cuda(batch, groups=groups, histogram=True).same_as(whole)
    assert merge_on_cuda(batch, groups=groups).same_as(whole)


def test_state_may_end_in_place(merge_on_cuda: Merges) -> None:
    batch = batch_of_many()
    assert merge_on_cuda(batch, groups=[2, 1], alias="base").same_as(merge_on_cuda(batch))


def test_state_may_begin_on_the_cpu(merge_on_cuda: Merges) -> None:
    """Its layout is the CPU's."""
    case = batch_of_many()[2]
    calls = []

    def by(**arguments: object) -> None:
        calls.append(arguments)
        native.merge(**arguments) if len(calls) % 2 else merge_on_cuda.emulated.merge(**arguments)

    check([case], merge_on_cpu([case], by=by, whole_items=True, groups=[1, 1, 1], histogram=True))
    assert len(calls) == 3


class TestRefusals:
    def call(self, merge_on_cuda: Merges, **other: object) -> None:
        array = np.zeros(32, np.float32)
        arguments = {
            "method": 0,
            "mode": 0,
            "scale": 1.0,
            "models": 1,
            "numel": [4],
            "compute": [1],
            "base": [array.ctypes.data],
            "base_dtype": [1],
            "finetuned": [array.ctypes.data],
            "finetuned_dtype": [1],
            "out": [array.ctypes.data],
            "out_dtype": [1],
        }
        merge_on_cuda.emulated.merge(**(arguments | other))

    def test_addresses_between_elements(self, merge_on_cuda: Merges) -> None:
        for name in ("base", "finetuned", "out", "keep"):
            with pytest.raises(ValueError, match="multiple"):
                self.call(merge_on_cuda, **{name: [np.zeros(32, np.float32).ctypes.data + 1]})

    def test_statistics_between_numbers(self, merge_on_cuda: Merges) -> None:
        room = np.zeros(48, np.uint8)
        for skipped in (1, 2, 4):
            begin = -room.ctypes.data % 8 + skipped
            with pytest.raises(ValueError, match="multiple"):
                self.call(merge_on_cuda, stats=room[begin : begin + 32].view(NATIVE_STATS))
            with pytest.raises(ValueError, match="multiple"):
                self.call(merge_on_cuda, histogram=room[begin : begin + 16].view(np.int64))
        assert not room.any()

    def test_null_addresses_and_lengths(self, merge_on_cuda: Merges) -> None:
        with pytest.raises(ValueError, match="null"):
            self.call(merge_on_cuda, base=[0])
        with pytest.raises(ValueError, match="a state address is null"):
            self.call(merge_on_cuda, state=native.State([0], [2], [2]))
        with pytest.raises(ValueError, match="length"):
            self.call(merge_on_cuda, compute=[1, 1])
        with pytest.raises(ValueError, match="F64"):
            self.call(merge_on_cuda, finetuned_dtype=[0])

    def test_a_small_workspace(self, merge_on_cuda: Merges) -> None:
        module = merge_on_cuda.emulated.module
        arrays = np.zeros(8, np.float32).ctypes.data
        one = ([4], [1], [arrays], [1], [arrays], [1], [arrays], [1])
        needed = module.workspace_bytes([4], 1, False)
        room = np.zeros(needed + 16, np.uint8).ctypes.data // 16 * 16 + 16
        with pytest.raises(ValueError, match="workspace"):
            module.merge(0, 0, 0, 0, 1.0, 1, *one, (), (), True, True, room, 64, 0, 0, ())

    def test_a_device_that_is_not_there(self, merge_on_cuda: Merges) -> None:
        module = merge_on_cuda.emulated.module
        with pytest.raises(module.CudaError, match="device") as caught:
            module.merge(
                7, 0, 0, 0, 1.0, 1, [], [], [], [], [], [], [], [], (), (), True, True, 0, 0, 0, 0, ()
            )
        assert isinstance(caught.value, RuntimeError)
        assert caught.value.args[1] == 101
