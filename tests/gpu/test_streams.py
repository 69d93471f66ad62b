"""Merges on a GPU are work on torch's current stream: nothing waits, graphs capture them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from on_gpu import assert_same, models, on_gpu, strided_copy
from programs import start_program

from negmerge_ext import Accumulator, merge

pytestmark = pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")


@pytest.fixture
def no_waiting() -> Iterator[Callable[[str], None]]:
    """Chooses whether calls of torch that wait for the device are an "error", until the test ends."""
    yield torch.cuda.set_sync_debug_mode
    torch.cuda.set_sync_debug_mode("default")


def test_nothing_is_waited_for(no_waiting: Callable[[str], None]) -> None:
    base, pool = models(9)
    expected = merge(base, pool)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    pool_there[2]["images"] = pool_there[2]["images"].contiguous()  # another order: has to be copied
    torch.cuda.synchronize()
    no_waiting("error")
    merged = merge(there, pool_there)
    accumulator = Accumulator(there)
    for state in pool_there:
        accumulator.add(state)
    summed = accumulator.finish()
    merge(there, pool_there, out=there)
    no_waiting("default")
    for found in (merged, summed, there):
        assert_same(found, expected)


def test_a_call_returns_before_the_device_is_done() -> None:
    base, pool = on_gpu(models(1)[0]), [on_gpu(models(1)[0])]
    merge(base, pool)  # loads the kernels
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    merge(base, pool)
    done.record()
    assert not done.query()
    torch.cuda.synchronize()


def test_a_side_stream() -> None:
    base, pool = models(3)
    expected = merge(base, pool)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    final = {name: value.clone() for name, value in there.items()}
    for value in there.values():
        value.zero_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
        for name, value in there.items():  # what comes before on this stream is waited for, by the device
            value.copy_(final[name])
        merged = merge(there, pool_there)
        after = {name: value.clone() for name, value in merged.items()}
    torch.cuda.current_stream().wait_stream(side)
    assert_same(after, expected)


def test_calls_of_an_accumulator_on_several_streams() -> None:
    """Each comes after those before, and memory of the first stream stays until the others are done."""
    base, pool = models(4)
    expected = merge(base, pool)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    accumulator = Accumulator(there)
    torch.cuda.synchronize()
    for place, state in enumerate(pool_there):
        with torch.cuda.stream(torch.cuda.Stream()):
            torch.cuda._sleep(200_000_000 // (place + 1))  # without an order the last would be the first
            accumulator.add(state)
    last = torch.cuda.Stream()
    with torch.cuda.stream(last):
        merged = accumulator.finish()
    sizes = [value.nbytes for value in there.values()]
    del accumulator
    gc.collect()
    _ = [torch.full((2 * size,), 3, dtype=torch.uint8, device="cuda") for size in sizes for _ in range(3)]
    last.synchronize()
    assert_same(merged, expected)


def test_memory_of_a_call_may_be_freed_at_once() -> None:
    """The work is still to be done when the caller drops its models and others take their memory."""
    base, pool = models(4)
    expected = merge(base, pool)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    torch.cuda.synchronize()
    torch.cuda._sleep(100_000_000)
    merged = merge(there, pool_there)
    sizes = [value.numel() for state in (there, *pool_there) for value in state.values()]
    del there, pool_there
    gc.collect()
    _ = [torch.full((size,), 3.0, device="cuda") for size in sizes]
    assert_same(merged, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tensors", [1, 700])
def test_a_graph_replays_with_changed_inputs(dtype: torch.dtype, tensors: int) -> None:
    """700 tensors and 4 models: a table of more than one upload."""
    generator = torch.Generator().manual_seed(0)

    def state() -> dict[str, torch.Tensor]:
        made = {str(i): torch.randn(1000 + i, generator=generator).to(dtype) for i in range(tensors)}
        made["turned"] = torch.randn(40, 30, generator=generator).to(dtype).t()
        made["steps"] = torch.tensor(int(torch.randint(99, (), generator=generator)))
        return made

    static = [on_gpu(state()) for _ in range(5)]
    static[2]["turned"] = static[2]["turned"].contiguous()
    out = on_gpu(static[0])
    merge(static[0], static[1:], out=out, scale=0.5)  # loads the kernels
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        merged = merge(static[0], static[1:], scale=0.5)
        merge(static[0], static[1:], out=out, scale=0.5)
    gc.collect()
    for _ in range(3):
        fresh = [state() for _ in range(5)]
        for there, values in zip(static, fresh, strict=True):
            for name, value in values.items():
                there[name].copy_(value)
        graph.replay()
        expected = merge(fresh[0], fresh[1:], scale=0.5)
        assert_same(merged, expected)
        assert_same(out, expected)


#: Nothing of ours was launched before it is captured: every kernel that a graph can have (statistics, patches
#: and counts of magnitudes are waited for; a density of 1 counts none).
CAPTURED_FIRST = """
import torch
from on_gpu import assert_same, models, on_gpu
from oracle import BF16, F16, F32, F64
from negmerge_ext import Accumulator, merge

cases = [models(3, dtype) for dtype in (F32, BF16, F16, F64)]
there = [(on_gpu(base), [on_gpu(state) for state in pool]) for base, pool in cases]
cases += [(cases[0][0], cases[1][1]), (cases[3][0], cases[0][1])]  # of several dtypes
there += [(there[0][0], there[1][1]), (there[3][0], there[0][1])]
others = [(method, case) for method in ("magmax", "ties:density=1") for case in (0, 3)]
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    merged = [merge(base, pool, scale=0.5) for base, pool in there]
    accumulator = Accumulator(there[0][0])
    for state in there[0][1]:
        accumulator.add(state)
    summed = accumulator.finish(scale=0.5)
    merged_otherwise = [merge(*there[case], method=method) for method, case in others]
graph.replay()
for found, (base, pool) in zip(merged, cases, strict=True):
    assert_same(found, merge(base, pool, scale=0.5))
assert_same(summed, merge(*cases[0], scale=0.5))
for found, (method, case) in zip(merged_otherwise, others, strict=True):
    assert_same(found, merge(*cases[case], method=method))
print("as on the CPU")
"""


def test_a_graph_may_be_what_a_process_does_first() -> None:
    with start_program(CAPTURED_FIRST) as run:
        out, errors = run.communicate(timeout=120)
    assert (run.returncode, out) == (0, "as on the CPU\n"), errors


def test_a_graph_in_place() -> None:
    base, pool = models(3)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    merge(there, pool_there)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        merge(there, pool_there, out=there)
    for name, value in base.items():
        there[name].copy_(value)
    graph.replay()
    assert_same(there, merge(base, pool))


def test_extra_memory_is_less_than_a_mebibyte() -> None:
    base = {str(i): torch.ones(100_000, device="cuda") for i in range(300)}
    pool = [{name: value + 1 for name, value in base.items()} for _ in range(8)]
    merge(base, pool, out=base)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    merge(base, pool, out=base)
    assert torch.cuda.max_memory_allocated() - before < 1 << 20


def test_several_host_threads_on_their_own_streams() -> None:
    from concurrent.futures import ThreadPoolExecutor

    base, pool = models(5)
    expected = merge(base, pool)
    there, pool_there = on_gpu(base), [on_gpu(state) for state in pool]
    torch.cuda.synchronize()

    def one() -> dict[str, torch.Tensor]:
        with torch.cuda.stream(torch.cuda.Stream()):
            merged = merge(there, pool_there)
            torch.cuda.current_stream().synchronize()
            return merged

    with ThreadPoolExecutor(4) as threads:
        for merged in threads.map(lambda _: one(), range(16)):
            assert_same(merged, expected)


def test_a_copy_has_the_strides_of_its_original() -> None:
    value = torch.arange(24.0).view(4, 6)[:, ::2]
    assert strided_copy(value).stride() == value.stride()
    assert strided_copy(value).tolist() == value.tolist()
