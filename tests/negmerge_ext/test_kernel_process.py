"""The native merge within a process: float modes, threads, the GIL, fork, signals."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tuning
from kernel_calls import check, merge
from oracle import BF16, F16, F32, F64
from programs import start_program
from strategies import Case
from values import fill

from negmerge_ext import native
from negmerge_ext.stats import NATIVE_STATS

#: Elements of each of three tensors, with a base and three models, that are worth several threads.
SHARED = tuning.size("kAloneElements") // (3 * 4) + 1


def some_cases(seed: int, size: int = SHARED) -> list[Case]:
    rng = np.random.default_rng(seed)
    mixes = [(F32, (F32, BF16, F32)), (BF16, (F16, BF16, F32)), (F64, (F64, F32, F16))]
    return [Case(*fill(rng, "neighbours", (size,), base, dtypes), out_dtype=base) for base, dtypes in mixes]


@pytest.mark.parametrize("threads", [1, 3])
def test_flush_to_zero_in_the_calling_thread_changes_nothing(instruction_set: str, threads: int) -> None:
    """Nor in threads made while it is on; and the mode of the caller stays as it was."""
    torch = pytest.importorskip("torch")
    tiny_squares = np.full(20_000, 1e-157)
    cases = [*some_cases(1), Case(tiny_squares * 0, (tiny_squares,) * 3, out_dtype=F64, about="tiny squares")]
    tiny = torch.tensor([1e-40])
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    try:
        result = merge(cases, threads=threads)
        assert (tiny * 1).item() == 0.0, "the merge left another float mode behind"
    finally:
        torch.set_flush_denormal(False)
    assert (tiny * 1).item() != 0.0
    check(cases, result)


def test_merges_at_the_same_time() -> None:
    batches = [some_cases(seed) for seed in range(4)]
    alone = [merge(batch) for batch in batches]

    def repeat(i: int) -> bool:
        return all(merge(batches[i], threads=1 + (i + turn) % 4).same_as(alone[i]) for turn in range(6))

    with ThreadPoolExecutor(len(batches)) as executor:
        assert all(executor.map(repeat, range(len(batches))))


THREADS = """
import os
from negmerge_ext import native
from kernel_calls import merge
from test_kernel_process import SHARED, some_cases

def made():
    return len(os.listdir("/proc/self/task")) - before

assert 3 * (SHARED // native.BLOCK) >= 4, "a block for each thread"
before = len(os.listdir("/proc/self/task"))
merge(some_cases(6, SHARED - 1), threads=4)
print(made(), end=" ")
merge(some_cases(6), threads=4)
print(made(), flush=True)
"""


def test_threads_share_what_is_worth_it() -> None:
    with start_program(THREADS) as program:
        out, errors = program.communicate(timeout=60)
    assert out == "0 3\n", errors


def merge_one_array_with_itself(models: int, size: int, threads: int) -> None:
    """A merge as long as ``models`` makes it that needs the memory of two small arrays only."""
    base, theta = np.zeros(size, np.float32), np.ones(size, np.float32)
    native.merge(
        method=0,
        mode=0,
        scale=1.0,
        models=models,
        numel=[size],
        compute=[1],
        base=[base.ctypes.data],
        base_dtype=[1],
        finetuned=[theta.ctypes.data] * models,
        finetuned_dtype=[1] * models,
        out=[base.ctypes.data],
        out_dtype=[1],
        stats=np.zeros(1, NATIVE_STATS),
        threads=threads,
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_other_python_threads_go_on_during_a_merge(threads: int) -> None:
    steps: list[int] = []
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            steps.append(1)
            time.sleep(0.001)

    counting = threading.Thread(target=count)
    counting.start()
    try:
        before = len(steps)
        merge_one_array_with_itself(models=4000, size=1 << 19, threads=threads)
        during = len(steps) - before
    finally:
        done.set()
        counting.join()
    assert during > 10


FORK = """
import os, signal, warnings
import numpy as np
from kernel_calls import check, merge
from test_kernel_process import some_cases

cases = some_cases(2)
merge(cases, threads=4)
warnings.simplefilter("ignore")
for generation in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        check(cases, merge(cases, threads=4))
        continue
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    check(cases, merge(cases, threads=4))
    os._exit(status)
print("grandchildren merged", flush=True)
os._exit(7)
"""


def test_a_forked_child_merges_and_so_do_its_own_children() -> None:
    with start_program(FORK) as program:
        out, errors = program.communicate(timeout=120)
    assert out == "grandchildren merged\n", errors
    assert program.returncode == 7, errors


INTERRUPT = """
import sys
from kernel_calls import check, merge
from test_kernel_process import merge_one_array_with_itself, some_cases

threads = int(sys.argv[1])
print("begun", flush=True)
try:
    merge_one_array_with_itself(models=100_000, size=1 << 22, threads=threads)
except KeyboardInterrupt:
    check(some_cases(3), merge(some_cases(3), threads=threads))
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_ctrl_c_ends_a_merge_that_would_take_minutes(threads: int) -> None:
    with start_program(INTERRUPT, str(threads)) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == "begun\n"
            time.sleep(0.3)
            program.send_signal(signal.SIGINT)
            out, errors = program.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            pytest.fail("SIGINT did not end the merge")
        finally:
            program.kill()
    assert out == "interrupted\n", errors


HANDLER = """
import signal
from test_kernel_process import merge_one_array_with_itself

class Stop(Exception):
    pass

def stop(number, frame):
    raise Stop("from the handler")

signal.signal(signal.SIGALRM, stop)
signal.setitimer(signal.ITIMER_REAL, 0.3)
try:
    merge_one_array_with_itself(models=100_000, size=1 << 22, threads=2)
except Stop as problem:
    print(problem, flush=True)
"""


def test_what_a_signal_handler_raises_comes_out() -> None:
    with start_program(HANDLER) as program:
        try:
            out, errors = program.communicate(timeout=60)
        finally:
            program.kill()
    assert out == "from the handler\n", errors


def test_a_handler_that_returns_lets_the_merge_go_on() -> None:
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        pytest.skip("needs timers in the main thread")
    calls: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        while len(calls) < 3:
            check(some_cases(4), merge(some_cases(4), threads=2))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_instruction_sets_may_change_between_merges_of_other_threads() -> None:
    cases, before = some_cases(5), native.active_instruction_set()
    alone = merge(cases)
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            for name in native.instruction_sets():
                native.select_instruction_set(name)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        assert all(merge(cases, threads=2).same_as(alone) for _ in range(10))
    finally:
        done.set()
        changing.join()
        native.select_instruction_set(before)
