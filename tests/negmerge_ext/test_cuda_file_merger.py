"""Merging from files on a device, by a fake one: the CPU's bits and counts, clean failures."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import oracle
import pytest
from examples import examples
from fake_device import FakeDevice
from hypothesis import given
from hypothesis import strategies as st
from kernel_calls import code
from strategies import METHODS, Case, batches
from values import agreeing

from negmerge_ext import native
from negmerge_ext.methods import get as get_method
from negmerge_ext.options import MODES
from negmerge_ext.stats import NATIVE_STATS


@dataclass(frozen=True)
class Batch:
    """Cases whose inputs lie in one file, or some of them in memory."""

    cases: list[Case]
    path: Path

    @classmethod
    def save(cls, cases: list[Case], path: Path) -> Batch:
        path.write_bytes(b"?" + b"".join(x.tobytes() for case in cases for x in (case.base, *case.finetuned)))
        return cls(cases, path)

    @property
    def models(self) -> int:
        return len(self.cases[0].finetuned)

    def arguments(self, in_memory: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        """Of ``merge``, and what it writes; in_memory: bool ``[tensors, 1 + N]``."""
        cases, first = self.cases, self.cases[0]
        inputs = [[case.base, *case.finetuned] for case in cases]
        size = np.array([[x.nbytes for x in row] for row in inputs], np.int64)
        offset = 1 + (np.cumsum(size) - size.ravel()).reshape(size.shape)
        address = np.array([[x.ctypes.data for x in row] for row in inputs], np.int64)
        place = np.where(in_memory, address, offset)
        file = np.where(in_memory, -1, 0).astype(np.int32)
        codes = np.array([[code(x.dtype) for x in row] for row in inputs], np.uint8)
        out = [np.full(case.base.size, 3).astype(case.out_dtype) for case in cases]
        keep = [np.full(-(-case.base.size // 16), 0xA5A5, np.uint16) for case in cases]
        stats = np.zeros(len(cases), NATIVE_STATS)
        histogram = np.zeros((len(cases), self.models + 1), np.int64)
        results = {"out": out, "keep": keep, "stats": stats, "histogram": histogram}
        return {
            "method": get_method(first.method).code,
            "mode": MODES[first.mode],
            "scale": first.scale,
            "models": self.models,
            "numel": np.array([case.base.size for case in cases], np.int64),
            "compute": [code(oracle.compute_dtype(row)) for row in inputs],
            "base": place[:, 0],
            "base_dtype": codes[:, 0],
            "finetuned": place[:, 1:],
            "finetuned_dtype": codes[:, 1:],
            "out": [x.ctypes.data for x in out],
            "out_dtype": [code(case.out_dtype) for case in cases],
            "stats": stats,
            "keep": [x.ctypes.data for x in keep],
            "histogram": histogram,
            "files": [(-1, os.fsencode(self.path))],
            "base_file": file[:, 0],
            "finetuned_file": file[:, 1:],
            "thresholds": [limit for case in cases for limit in case.thresholds()],
        }, results

    def on_cpu(self) -> dict[str, Any]:
        arguments, results = self.arguments(np.zeros((len(self.cases), self.models + 1), bool))
        native.merge(**arguments, threads=1)
        return results


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    whole = all(left[part].tobytes() == right[part].tobytes() for part in ("stats", "histogram"))
    bits = all(map(oracle.same_bits, left["out"], right["out"]))
    return whole and bits and all(map(np.array_equal, left["keep"], right["keep"]))


def agreeing_cases(
    models: int, sizes: tuple[int, ...], dtypes: tuple[np.dtype, ...], method: str = "negmerge"
) -> list[Case]:
    rng = np.random.default_rng(models)
    cases = []
    for number, size in enumerate(sizes):
        mix = tuple(dtypes[(number + k) % len(dtypes)] for k in range(models))
        base, finetuned = agreeing(rng, (size,), dtypes[number % len(dtypes)], mix)
        cases.append(Case(base, finetuned, method, scale=0.3, out_dtype=base.dtype))
    return cases


@pytest.fixture
def cuda(emulated_cuda: ModuleType) -> ModuleType:
    return emulated_cuda


@pytest.fixture
def fake(emulated_cuda: ModuleType) -> FakeDevice:
    return FakeDevice(emulated_cuda)


@pytest.fixture
def merger(cuda: ModuleType, fake: FakeDevice) -> Any:
    """Makes file mergers that are closed at the end, and leave nothing."""
    with ExitStack() as stack:

        def make(workers: int, slot: int) -> Any:
            made = cuda.FileMerger(0, workers, slot)
            stack.callback(made.close)
            return made

        yield make
    assert fake.left == 0


class TestResults:
    @pytest.mark.parametrize("eager", [False, True])
    @pytest.mark.parametrize("slot", [None, 700_032, 5 << 20])
    @pytest.mark.parametrize("kinds", [(oracle.F32,), (oracle.BF16, oracle.F64, oracle.E4M3)])
    @pytest.mark.parametrize("models", [1, 2, 8, 37, 100])
    def test_those_of_the_cpu(
        self,
        models: int,
        kinds: tuple,
        slot: int | None,
        eager: bool,
        cuda: ModuleType,
        fake: FakeDevice,
        merger: Any,
        tmp_path: Path,
    ) -> None:
        """More models than fit a slot, too, tensors of many loads and many tensors in one."""
        sizes = (0, 7, 3 * native.BLOCK + 5, *range(100, 130), 9 * native.BLOCK)
        batch = Batch.save(agreeing_cases(models, sizes, kinds), tmp_path / "inputs")
        expected = batch.on_cpu()
        assert expected["stats"]["kept"][-1] > 0
        some = np.random.default_rng(0).random((len(sizes), models + 1)) < 0.5
        device = merger(2, slot or cuda.least_slot(models, True))
        with fake.at_once(eager):
            for in_memory in (some & False, some, some | True):
                arguments, results = batch.arguments(in_memory)
                device.merge(*arguments.values())
                assert same(results, expected)

    @pytest.mark.parametrize("kinds", [(oracle.F32,), (oracle.BF16, oracle.F64, oracle.E4M3)])
    @pytest.mark.parametrize("method", METHODS)
    def test_of_every_method_in_groups_of_models(
        self, method: str, kinds: tuple, cuda: ModuleType, merger: Any, tmp_path: Path
    ) -> None:
        cases = agreeing_cases(20, (3 * native.BLOCK + 5, 7), kinds, method)
        batch = Batch.save(cases, tmp_path / "inputs")
        arguments, results = batch.arguments(np.zeros((2, 21), bool))
        merger(2, cuda.least_slot(20, True)).merge(*arguments.values())
        assert same(results, batch.on_cpu())

    @examples(60)
    @given(cases=batches(), lines=st.integers(0, 1 << 14), workers=st.integers(1, 3), eager=st.booleans())
    def test_of_any_tensors(
        self,
        cases: list[Case],
        lines: int,
        workers: int,
        eager: bool,
        cuda: ModuleType,
        fake: FakeDevice,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        batch = Batch.save(cases, tmp_path_factory.mktemp("any") / "inputs")
        device = cuda.FileMerger(0, workers, cuda.least_slot(batch.models, True) + 128 * lines)
        arguments, results = batch.arguments(np.zeros((len(cases), batch.models + 1), bool))
        with fake.at_once(eager):
            device.merge(*arguments.values())
        device.close()
        assert same(results, batch.on_cpu())
        assert fake.left == 0


class TestFailures:
    #: Functions that can fail when memory is taken, and when loads are merged.
    TAKING = ("enter", "allocate_pinned", "allocate", "create_stream", "create_event")
    WORKING = ("enter", "copy_up", "copy_down", "merge", "record", "wait", "running")

    @pytest.fixture
    def batch(self, tmp_path_factory: pytest.TempPathFactory) -> Batch:
        """Many loads of the smallest slots; one model more than fits one of them."""
        cases = agreeing_cases(4, (5 * native.BLOCK, 100, 3 * native.BLOCK + 1), (oracle.F64,))
        return Batch.save(cases, tmp_path_factory.mktemp("failures") / "inputs")

    def check_that_all_is_well(self, batch: Batch, device: Any) -> None:
        arguments, results = batch.arguments(np.zeros((len(batch.cases), batch.models + 1), bool))
        device.merge(*arguments.values())
        assert same(results, batch.on_cpu())

    @pytest.mark.parametrize("call", [1, 2, 3])
    @pytest.mark.parametrize("function", TAKING)
    def test_while_memory_is_taken(
        self, function: str, call: int, cuda: ModuleType, fake: FakeDevice
    ) -> None:
        slot = cuda.least_slot(4, True)
        with fake.failing(function, call):
            if function == "enter" and call > 1:
                cuda.FileMerger(0, 3, slot).close()
            else:
                with pytest.raises(cuda.CudaError) as caught:
                    cuda.FileMerger(0, 3, slot)
                message, number = caught.value.args
                assert "out of memory" in message or number != 2
                assert "memory" in message or not function.startswith("allocate")
        assert fake.left == 0

    @pytest.mark.parametrize("eager", [False, True])
    @pytest.mark.parametrize("function", WORKING)
    def test_while_loads_are_merged(
        self,
        function: str,
        eager: bool,
        batch: Batch,
        cuda: ModuleType,
        fake: FakeDevice,
        merger: Any,
    ) -> None:
        """Whichever call it is; and the same memory serves again if the device can go on."""
        device = merger(2, cuda.least_slot(4, True))
        arguments, _ = batch.arguments(np.zeros((len(batch.cases), batch.models + 1), bool))
        with fake.failing(function, 0):
            device.merge(*arguments.values())
            calls = fake.calls(function)
        if function == "enter":
            calls -= 1  # the last one is for the end, which nothing can stop
        assert calls > 3
        for call in sorted({1, 2, 3, calls // 2, calls - 1, calls}):
            failing = (fake.at_once(eager), fake.failing(function, call))
            with failing[0], failing[1], pytest.raises(cuda.CudaError) as caught:
                device.merge(*arguments.values())
            message, number = caught.value.args
            assert number == (101 if function == "enter" else 719), message
            self.check_that_all_is_well(batch, device)

    def test_a_device_that_is_not_there(self, cuda: ModuleType, fake: FakeDevice) -> None:
        with pytest.raises(cuda.CudaError, match="selecting the device: invalid device ordinal"):
            cuda.FileMerger(1, 1, 1 << 20)
        assert fake.left == 0

    @pytest.mark.parametrize("size", [0, 1000, 700_000])
    def test_a_file_that_ends_too_early(
        self,
        size: int,
        batch: Batch,
        cuda: ModuleType,
        fake: FakeDevice,
        merger: Any,
        tmp_path: Path,
    ) -> None:
        device = merger(2, cuda.least_slot(4, True))
        short = tmp_path / "short"
        short.write_bytes(batch.path.read_bytes()[:size])
        arguments, _ = Batch(batch.cases, short).arguments(np.zeros((len(batch.cases), 5), bool))
        with pytest.raises(cuda.ReadError) as caught:
            device.merge(*arguments.values())
        number, offset, error = caught.value.args
        assert (number, error) == (0, 0)
        assert offset >= size
        self.check_that_all_is_well(batch, device)

    def test_an_exception_of_a_signal_handler(
        self, batch: Batch, cuda: ModuleType, merger: Any, tmp_path: Path
    ) -> None:
        """It ends the merge long before its end, and nothing of it is under way any more."""

        def stop(number: int, frame: object) -> None:
            raise InterruptedError

        long = Batch.save(agreeing_cases(4, (200 * native.BLOCK,), (oracle.F32,)), tmp_path / "long")
        device = merger(2, cuda.least_slot(4, True))
        arguments, _ = long.arguments(np.zeros((1, 5), bool))
        before = signal.signal(signal.SIGALRM, stop)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(InterruptedError):
                device.merge(*arguments.values())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        self.check_that_all_is_well(batch, device)

    def test_arguments_that_cannot_be(
        self, batch: Batch, cuda: ModuleType, fake: FakeDevice, merger: Any
    ) -> None:
        least = cuda.least_slot(4, True)
        device = merger(1, least - 128)
        arguments, _ = batch.arguments(np.zeros((len(batch.cases), 5), bool))
        with pytest.raises(ValueError, match="too small"):
            device.merge(*arguments.values())
        with pytest.raises(ValueError, match="worker"):
            merger(0, least)
        with pytest.raises(ValueError, match="multiple of 128"):
            merger(1, least + 16)
        with pytest.raises(ValueError, match="no such file"):
            device.merge(*(arguments | {"files": [(-1, b"a")], "base_file": [1, 1, 1]}).values())
        device.close()
        with pytest.raises(ValueError, match="closed"):
            device.merge(*arguments.values())


def test_memory_is_what_was_said_whatever_is_merged(
    cuda: ModuleType, fake: FakeDevice, tmp_path: Path
) -> None:
    slot, workers = 1 << 20, 3
    pinned, on_device = cuda.worker_memory(slot)
    for models in (1, 50):
        batch = Batch.save(
            agreeing_cases(models, (9 * native.BLOCK, 100), (oracle.F32,)), tmp_path / "inputs"
        )
        arguments, _ = batch.arguments(np.zeros((2, models + 1), bool))
        fake.forget_peaks()
        device = cuda.FileMerger(0, workers, slot)
        device.merge(*arguments.values())
        device.close()
        assert fake.peaks() == (workers * pinned, workers * on_device)
