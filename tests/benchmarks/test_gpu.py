"""Benchmarks for a GPU, as far as they go without one: cases on the CPU, tables of constructed results."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import gpu_files
import gpu_kernel
import gpu_model
import pytest
import torch
from harness import device_clock, models
from harness.checkpoints import write_pool
from harness.cub_transform import CubTransform, NoCubError, compile_all
from harness.device_clock import DeviceClock, WaitsForTheDeviceError
from harness.device_copy import DeviceCopy
from programs import import_path
from report import NAMES
from reporting.cases import Benchmark, Case
from reporting.gpu_tables import (
    GPU_TABLES,
    allowance,
    extra_megabytes,
    gpu_over_allowance,
    host_microseconds,
    over_copy,
)
from reporting.summary import gpu_summary

from negmerge_ext import native_cuda

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize("name", GPU_TABLES)
def test_options_are_told_without_a_gpu(name: str) -> None:
    done = start(name, "--help")
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", GPU_TABLES)
def test_without_a_gpu_it_says_so(name: str, tmp_path: Path) -> None:
    done = start(name, "--quick", "--out", str(tmp_path / "out.json"))
    assert done.returncode == 1
    assert done.stderr == "an NVIDIA GPU is needed: torch finds none here\n"
    assert list(tmp_path.iterdir()) == []


def start(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments],
        env={**os.environ, "PYTHONPATH": import_path()},
        capture_output=True,
        text=True,
        check=False,
    )


class FakeEvent:
    """Happens when the device, which counts what is enqueued, is done with what came before."""

    now: float = 0.0
    enqueued: float = 0.0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.at = FakeEvent.enqueued

    def query(self) -> bool:
        return FakeEvent.now >= self.at

    def synchronize(self) -> None:
        FakeEvent.now = max(FakeEvent.now, FakeEvent.enqueued)

    def elapsed_time(self, end: FakeEvent) -> float:
        return (end.at - self.at) * 1e3


class TestClock:
    @pytest.fixture(autouse=True)
    def _fake_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def sleep(cycles: int) -> None:
            FakeEvent.enqueued += cycles / 1e9

        def synchronize() -> None:
            FakeEvent.now = FakeEvent.enqueued = max(FakeEvent.now, FakeEvent.enqueued)

        monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
        monkeypatch.setattr(torch.cuda, "_sleep", sleep)
        monkeypatch.setattr(torch.cuda, "synchronize", synchronize)

    def test_the_host_is_ahead_of_the_device(self) -> None:
        calls = []

        def work() -> None:
            calls.append(1)
            FakeEvent.now += 0.02  # for so long the host is busy
            FakeEvent.enqueued = max(FakeEvent.now, FakeEvent.enqueued) + 0.001

        measure = DeviceClock().timed(work)
        assert measure() == pytest.approx(0.001)
        assert len(calls) > 1
        assert measure() == pytest.approx(0.001)

    def test_what_waits_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(device_clock, "_MOST", 1 << 24)
        with pytest.raises(WaitsForTheDeviceError):
            DeviceClock().timed(torch.cuda.synchronize)()


def test_the_copy_moves_what_it_says() -> None:
    copy = DeviceCopy(1001, device="cpu")
    copy._source.fill_(7)
    copy()
    assert bool((copy._target == 7).all())
    assert copy.moved == 1000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_kernel_cases(dtype: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    case = gpu_kernel.Case(2, dtype, 1e5, device="cpu")
    assert 0.9e5 < 4 * case.base["weight"].nbytes <= 1e5
    found, without = gpu_kernel.peers(case, NoCubError("no reason"))
    assert without == {"CUB": "no reason"}
    del found["torch.compile"]  # takes a compiler and a minute
    case.check(found)
    with pytest.raises(AssertionError, match="lazy"):
        case.check({"lazy": lambda: None})


def test_a_wrong_merge_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = gpu_kernel.Case(2, torch.float32, 1e5, device="cpu")
    monkeypatch.setattr(case, "merge", lambda: None)
    with pytest.raises(SystemExit, match="differs from that on the CPU"):
        case.check({})


def test_model_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    case = gpu_model.Case(models.tiny(5), 2, torch.bfloat16, device="cpu")
    case.check()
    monkeypatch.setattr(case, "merge_anew", lambda: case.base)
    with pytest.raises(SystemExit, match=r"layers\.0\.bias: .* differs from that on the CPU"):
        case.check()


@pytest.mark.slow
def test_file_cases(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native_cuda, "module", lambda: emulated_cuda)
    paths = write_pool(tmp_path, "small", 3)
    case = gpu_files.Case(paths, models.BY_NAME["small"]())
    case.check()
    case.remove_outputs()
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)
    monkeypatch.setattr(case, "merge", lambda device: case.outputs[device].write_text(device))
    with pytest.raises(SystemExit, match="differs from that on the CPU"):
        case.check()


def test_places_for_files() -> None:
    assert gpu_files.place(1).is_dir()
    with pytest.raises(SystemExit, match=r"no folder has room for 1000000000\.0 GB; give --folder"):
        gpu_files.place(10**18)


@pytest.mark.slow
def test_cub_is_compiled(tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    kinds = [(2, torch.float32), (64, torch.bfloat16)]
    for library in compile_all(kinds, tmp_path, "sm_90").values():
        assert isinstance(library, Path), library
        tensor = torch.zeros(4)
        if not torch.cuda.is_available():
            continue
        CubTransform(library)(tensor.cuda(), [tensor.cuda()] * 2, 1.0, tensor.cuda())
    (problem,) = compile_all(kinds[:1], tmp_path, "sm_1").values()
    assert "nvcc does not compile it" in str(problem)


def test_cub_without_nvcc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (problem,) = compile_all([(2, torch.float32)], tmp_path, "sm_90").values()
    assert str(problem) == "nvcc is not found"


def kernel_case(**more: list[float]) -> Case:
    facts = {"model_bytes": 1e9, "copy_bytes": 4e9, "without": {"CUB": "nvcc is not found"}}
    seconds = {"copy": [1e-3, 1e-3, 4e-3], "merge": [1.25e-3, 1e-3, 5e-3], **more}
    return Case({"dtype": "float32", "models": 6}, facts, seconds)


def model_case() -> Case:
    seconds = {"copy": [1e-3], "merge": [2.23e-3], "merge, new result": [4.46e-3]}
    seconds |= {"merge, host": [300e-6], "merge, new result, host": [600e-6]}
    extra = {"merge": 250_000, "merge, new result": 500_000}
    facts = {"tensors": 500, "model_bytes": 1e9, "copy_bytes": 4e9, "extra_bytes": extra}
    return Case({"dtype": "float32", "models": 6}, facts, seconds)


def files_case() -> Case:
    seconds = {"copy up": [0.1], "merge, cuda": [0.2], "merge to memory, cuda": [0.15], "merge, cpu": [0.4]}
    return Case({"model": "vit-b32", "models": 8}, {"filesystem": "tmpfs", "read_bytes": 5.4e9}, seconds)


def measured(**cases: Case) -> dict[str, Benchmark]:
    return {name: Benchmark([cases[name]] if name in cases else [], []) for name in NAMES}


def test_bandwidth_over_that_of_a_copy() -> None:
    assert over_copy(kernel_case()) == pytest.approx(0.8 * 2)  # rounds: 0.8, 1, 0.8; twice the bytes


def test_what_a_call_may_take() -> None:
    case = model_case()
    assert allowance(case) == pytest.approx(1.1 * 2e-3 + 30e-6)
    assert gpu_over_allowance(case) == pytest.approx([1, 2])
    assert host_microseconds(case) == pytest.approx([0.1, 0.2])
    assert extra_megabytes(case) == [0.25, 0.5]


TABLE_LINES: list[tuple[str, Callable[[], Case], str]] = [
    ("gpu_kernel", kernel_case, "| float32 | 6 | 4000 | 6400 | 1.60 | – | – | – | 1.25 (1.12 … 3.12) | 3 |"),
    ("gpu_kernel", kernel_case, "Without CUB: nvcc is not found (float32, N = 6)."),
    ("gpu_files", files_case, "| tmpfs | 5.40 | 0.100 (0.100 … 0.100) | 0.200"),
    ("gpu_files", files_case, "| 2.00 | 0.50 | 1 |"),
    ("gpu_model", model_case, "| float32 | 6 | 8.00 | 2.23 | 2.23 (2.23 … 2.23) | 4.46"),
    ("gpu_model", model_case, "| 2.00 | 0.300 (0.300 … 0.300) | 0.600 (0.600 … 0.600) | 0.20 | 0.50 |"),
]


@pytest.mark.parametrize(("name", "case", "line"), TABLE_LINES)
def test_tables(name: str, case: Callable[[], Case], line: str) -> None:
    assert line in GPU_TABLES[name](measured(**{name: case()}))
    assert GPU_TABLES[name](measured()) == "Not measured yet."


def test_targets() -> None:
    peers = {"torch.compile": [3e-3] * 3, "CUB": [1e-3] * 3, "torch.stack": [3e-2] * 3}
    text = gpu_summary(
        measured(gpu_kernel=kernel_case(**peers), gpu_model=model_case(), gpu_files=files_case())
    )
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    assert [row[1:] for row in rows] == [
        ["≥ 0.95", "1.60", "yes"],
        ["≥ 1.3", "2.40", "yes"],
        ["≥ 1", "0.80", "no"],
        ["≥ 10", "24.0", "yes"],
        ["≤ 1", "1.00 … 2.00", "no"],
        ["≤ 0.3", "0.10 … 0.20", "yes"],
        ["≤ 1", "0.25 … 0.50", "yes"],
        ["≤ 1.2", "2.00", "no"],
    ]
    assert all(line.endswith("| – | – |") for line in gpu_summary(measured()).splitlines()[2:])
