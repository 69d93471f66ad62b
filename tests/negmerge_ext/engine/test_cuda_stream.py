"""Merging files on a CUDA device, a fake one: the CPU's bytes and reports, within memory, failing cleanly."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import oracle
import pytest
import torch
from examples import examples
from fake_device import FakeDevice
from files_on_device import LARGE, SHAPES, FilesOnDevice, least_memory
from hypothesis import given
from hypothesis import strategies as st
from plans import plan_of
from pools import Pool, make_pool, merge_files, read_file
from state_dicts import as_torch
from strategies import dtype_mixes, shapes
from values import KINDS, fill

import negmerge_ext
from negmerge_ext import native_cuda
from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.engine import stream
from negmerge_ext.engine.budget import fit
from negmerge_ext.engine.needs import find_needs
from negmerge_ext.engine.sinks import FileSink
from negmerge_ext.errors import (
    DeviceError,
    DeviceMemoryError,
    MemoryBudgetError,
    PreflightError,
    SourceChangedError,
)
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan


@pytest.fixture
def fake(emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """The package's only CUDA device."""
    monkeypatch.setattr(native_cuda, "module", lambda: emulated_cuda)
    return FakeDevice(emulated_cuda)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestResults:
    @pytest.mark.parametrize("models", [1, 2, 30])
    def test_every_budget_and_number_of_workers_gives_the_cpu_s_bytes(
        self, models: int, fake: FakeDevice, tmp_path: Path
    ) -> None:
        pool = make_pool(models, shapes=SHAPES)
        base, finetuned = pool.save(tmp_path)
        least = least_memory(base, finetuned, tmp_path)
        expected = merge_files(base, finetuned, tmp_path / "cpu.safetensors")
        assert (expected.device, expected.device_bytes) == ("cpu", 0)
        for number, (memory, threads) in enumerate([(least, 1), (least + 1, 3), (2 * least, 2), (None, 3)]):
            out = tmp_path / f"{number}.safetensors"
            fake.forget_peaks()
            report = merge_files(base, finetuned, out, max_memory=memory, threads=threads, device=0)
            assert read_file(out).keys() == read_file(tmp_path / "cpu.safetensors").keys()
            assert out.read_bytes() == (tmp_path / "cpu.safetensors").read_bytes()
            assert report.merged == expected.merged
            assert report.bytes_read == expected.bytes_read
            assert report.device == "cuda:0"
            assert memory is None or report.buffer_bytes <= memory
            pinned, on_device = fake.peaks()
            assert 0 < pinned < report.buffer_bytes
            assert on_device == report.device_bytes
        assert fake.left == 0

    @examples(25)
    @given(data=st.data())
    def test_any_tensors_and_options(
        self, data: st.DataObject, fake: FakeDevice, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        models = data.draw(st.sampled_from([1, 2, 3, 7, 100]))
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
        pool = Pool({}, [{} for _ in range(models)], ())
        for number in range(data.draw(st.integers(1, 3))):
            mix = data.draw(dtype_mixes(models))
            kind, shape = data.draw(st.sampled_from(KINDS)), data.draw(shapes(20_000))
            pool.base[f"t{number}"], updated = fill(rng, kind, shape, *mix)
            for model, theta in zip(pool.finetuned, updated, strict=True):
                model[f"t{number}"] = theta
        options = {
            "method": data.draw(st.sampled_from(["negmerge", "uniform"])),
            "mode": data.draw(st.sampled_from(["negate", "add", "vector"])),
            "scale": data.draw(st.sampled_from([1.0, 0.3, -2.5])),
            "out_dtype": data.draw(st.sampled_from([None, "float16", "float64", "float8_e4m3fn"])),
        }
        folder = tmp_path_factory.mktemp("any")
        paths = pool.save(folder)
        memory = least_memory(*paths, folder, **options) + data.draw(st.sampled_from([0, 10**6, 10**8]))
        cpu = merge_files(*paths, folder / "cpu.safetensors", options=options)
        cuda = merge_files(*paths, folder / "cuda.safetensors", max_memory=memory, device=0, options=options)
        found, expected = read_file(folder / "cuda.safetensors"), read_file(folder / "cpu.safetensors")
        assert all(oracle.same_bits(found[name], array) for name, array in expected.items())
        assert repr(cuda.merged) == repr(cpu.merged)
        assert fake.left == 0

    @pytest.mark.parametrize(("method", "times"), [("negmerge", 1), ("ties", 2)])
    def test_memory_is_had_once(self, method: str, times: int, fake: FakeDevice, tmp_path: Path) -> None:
        """For the preflight, the merge and the verification; trimming needs its room for itself."""
        base, finetuned = make_pool(3, shapes=LARGE).save(tmp_path)
        before = fake.calls("allocate_pinned")
        options = {"method": method}
        merge_files(
            base, finetuned, tmp_path / "out.safetensors", threads=2, device=0, verify=True, options=options
        )
        assert fake.calls("allocate_pinned") - before == 2 * times
        assert fake.left == 0

    def test_tensors_stored_in_another_order(self, fake: FakeDevice, tmp_path: Path) -> None:
        pool = make_pool(3, shapes=SHAPES)
        paths = []
        for number, model in enumerate([pool.base, *pool.finetuned]):
            state = {name: as_torch(array) for name, array in model.items()}
            state["large"] = state["large"].T.contiguous().T
            torch.save(state, tmp_path / f"{number}.pt")
            paths.append(tmp_path / f"{number}.pt")
        merge_files(paths[0], paths[1:], tmp_path / "cpu.safetensors")
        merge_files(paths[0], paths[1:], tmp_path / "cuda.safetensors", device=0, verify=True)
        assert (tmp_path / "cuda.safetensors").read_bytes() == (tmp_path / "cpu.safetensors").read_bytes()

    def test_sign_agreement(self, fake: FakeDevice, tmp_path: Path) -> None:
        base, finetuned = make_pool(5, shapes=SHAPES).save(tmp_path)
        plan = make_plan(open_checkpoint(base), map(open_checkpoint, finetuned), Options.parse())
        reports = [stream.inspect(plan, stream.Settings(device=device)) for device in (None, 0)]
        assert reports[0].merged == reports[1].merged
        assert [report.device for report in reports] == ["cpu", "cuda:0"]

    def test_patches(self, fake: FakeDevice, tmp_path: Path) -> None:
        """Keep bits and base come along."""
        from negmerge_ext.checkpoint.provenance import input_identities
        from negmerge_ext.engine.patch_making import make_file

        base, finetuned = make_pool(3, shapes=SHAPES).save(tmp_path)
        plan = make_plan(open_checkpoint(base), map(open_checkpoint, finetuned), Options.parse(mode="vector"))
        inputs = input_identities(plan, [str(base), *map(str, finetuned)])
        for device in (-1, 0):
            out = tmp_path / f"{device}.patch"
            make_file(plan, inputs, out, stream.Settings(device=device), overwrite=False)
        assert (tmp_path / "0.patch").read_bytes() == (tmp_path / "-1.patch").read_bytes()

    def test_by_the_name_of_the_device(self, fake: FakeDevice, tmp_path: Path) -> None:
        """Models in main memory, and results there, go along with a base in a file."""
        pool = make_pool(2, shapes=SHAPES)
        base, finetuned = pool.save(tmp_path)
        models = [finetuned[0], {name: as_torch(array) for name, array in pool.finetuned[1].items()}]
        expected = negmerge_ext.merge(base, models)
        found = negmerge_ext.merge(base, models, device="cuda:0")
        assert fake.calls("merge") > 0
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
        report = negmerge_ext.merge(base, models, out=tmp_path / "out.safetensors", device="cuda")
        assert report.device == "cuda:0"
        assert report.to_dict()["device"] == "cuda:0"
        assert fake.left == 0

    def test_reports_and_patches_by_the_name_of_the_device(self, fake: FakeDevice, tmp_path: Path) -> None:
        base, finetuned = make_pool(3, shapes=SHAPES).save(tmp_path)
        found = negmerge_ext.inspect(base, finetuned, device="cuda:0")
        assert found.device == "cuda:0"
        assert fake.calls("merge") > 0
        assert found.merged == negmerge_ext.inspect(base, finetuned).merged
        for number, device in enumerate([None, "cuda"]):
            out = tmp_path / f"{number}.patch"
            negmerge_ext.Patch.make(base, finetuned, out=out, device=device)
            negmerge_ext.Patch.make(base, finetuned, device=device).save(tmp_path / f"memory-{number}.patch")
            assert out.read_bytes() == (tmp_path / "0.patch").read_bytes()
            assert (tmp_path / f"memory-{number}.patch").read_bytes() == out.read_bytes()
        with pytest.raises(DeviceError, match="'cuda:1' was asked for"):
            negmerge_ext.inspect(base, finetuned, device="cuda:1")
        with pytest.raises(DeviceError, match="'cuda:1' was asked for"):
            negmerge_ext.Patch.make(base, finetuned, device="cuda:1")
        assert fake.left == 0

    @pytest.mark.parametrize("device", [None, "auto", "cpu"])
    def test_nobody_gets_a_device_without_asking(
        self, device: str | None, fake: FakeDevice, tmp_path: Path
    ) -> None:
        before = fake.calls("enter")
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        report = negmerge_ext.merge(base, finetuned, out=tmp_path / "out.safetensors", device=device)
        assert report.device == "cpu"
        assert fake.calls("enter") == before

    def test_a_dry_run_tells_the_device(self, fake: FakeDevice, tmp_path: Path) -> None:
        from negmerge_ext.api import plan_merge

        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        plan = plan_merge(base, finetuned, out=tmp_path / "out.safetensors", device="cuda")
        report = negmerge_ext.merge(base, finetuned, out=tmp_path / "out.safetensors", device="cuda")
        assert not plan.problems
        assert (plan.device, plan.device_bytes) == (report.device, report.device_bytes)
        assert plan.buffer_bytes == report.buffer_bytes


class FakeGpu:
    """The fake device as the tests of GPUs know one."""

    def __init__(self, fake: FakeDevice) -> None:
        self._fake = fake

    def full(self) -> AbstractContextManager[None]:
        return self._fake.failing("allocate", 2)


class TestAsOnAGpu(FilesOnDevice):
    """What is tested in ``tests/gpu/test_files.py``."""

    @pytest.fixture
    def device(self, fake: FakeDevice) -> Iterator[FakeGpu]:
        yield FakeGpu(fake)
        assert fake.left == 0


class TestBudget:
    @examples(200)
    @given(
        models=st.sampled_from([1, 2, 30, 1000]),
        threads=st.sampled_from([1, 2, 64]),
        size=st.integers(1, 10**8),
        extra=st.one_of(st.just(0), st.integers(0, 10**6), st.integers(0, 10**9)),
        histogram=st.booleans(),
    )
    def test_shapes_fit(
        self, models: int, threads: int, size: int, extra: int, histogram: bool, fake: FakeDevice
    ) -> None:
        plan = plan_of(models, [(size, "F32", "F32", "F32")])
        needs = find_needs(plan, FileSink.wants)
        with pytest.raises(MemoryBudgetError) as caught:
            fit(plan, needs, 1, device=0, histogram=histogram)
        [least] = map(int, re.findall(r"needs (\d+)", str(caught.value)))
        with pytest.raises(MemoryBudgetError):
            fit(plan, needs, least - 1, device=0, histogram=histogram)
        shape = fit(plan, needs, least + extra, threads=threads, device=0, histogram=histogram)
        assert shape.buffer_bytes <= shape.memory_bytes <= least + extra
        assert 1 <= shape.workers.count <= min(threads, 16)
        assert shape.workers.slot <= 4 << 20

    def test_pinned_memory_does_not_grow_with_the_pool(self, fake: FakeDevice) -> None:
        plans = [plan_of(models, [(10**9, "F32", "F32", "F32")]) for models in (2, 4096)]
        needs = [find_needs(plan, FileSink.wants) for plan in plans]
        found = [fit(*case, None, threads=64, device=0).workers for case in zip(plans, needs, strict=True)]
        assert found[0] == found[1]


class TestFailures:
    @pytest.fixture(autouse=True)
    def nothing_left(self, fake: FakeDevice) -> object:
        threads = set(threading.enumerate())
        yield
        assert fake.left == 0
        assert set(threading.enumerate()) == threads

    @pytest.mark.parametrize(
        ("function", "error", "text"),
        [
            ("enter", DeviceError, "cuda:0 failed: selecting the device: invalid device ordinal.*on the CPU"),
            (
                "allocate_pinned",
                DeviceMemoryError,
                "cuda:0: allocating pinned host memory.*--threads",
            ),
            ("allocate", DeviceMemoryError, "cuda:0: allocating device memory: out of memory.*--threads"),
            ("create_stream", DeviceError, "making a stream"),
        ],
    )
    def test_what_can_be_foreseen_comes_before_anything_is_written(
        self, function: str, error: type[Exception], text: str, fake: FakeDevice, tmp_path: Path
    ) -> None:
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        before = listing(tmp_path)
        with fake.failing(function, 1):
            with pytest.raises(error, match=text):
                merge_files(base, finetuned, tmp_path / "out.safetensors", device=0)
            assert listing(tmp_path) == before
            (tmp_path / "out.safetensors").touch()
            with pytest.raises(PreflightError, match="2 problems"):
                merge_files(base, finetuned, tmp_path / "out.safetensors", device=0)

    @pytest.mark.parametrize("call", [1, 3])
    @pytest.mark.parametrize("function", ["copy_up", "copy_down", "merge", "running", "wait", "record"])
    def test_what_happens_later_leaves_no_output(
        self, function: str, call: int, fake: FakeDevice, tmp_path: Path
    ) -> None:
        base, finetuned = make_pool(8, shapes=SHAPES).save(tmp_path)
        before = listing(tmp_path)
        with fake.failing(function, call), pytest.raises(DeviceError, match=r"cuda:0 failed: .*on the CPU"):
            merge_files(base, finetuned, tmp_path / "out.safetensors", device=0, threads=2)
        assert listing(tmp_path) == before

    def test_what_happens_while_it_is_verified_can_be_gone_on_from(
        self, fake: FakeDevice, tmp_path: Path
    ) -> None:
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        out = tmp_path / "out.safetensors"
        before = fake.calls("merge")
        merge_files(base, finetuned, out, device=0, threads=1)
        calls, expected = fake.calls("merge") - before, out.read_bytes()
        out.unlink()
        with fake.failing("merge", calls + 1), pytest.raises(DeviceError):
            merge_files(base, finetuned, out, device=0, threads=1, verify=True)
        assert not out.exists()
        assert merge_files(base, finetuned, out, device=0, resume=True).resumed
        assert out.read_bytes() == expected

    def test_what_the_disk_refuses_between_preflight_and_merge(
        self, fake: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from negmerge_ext.checkpoint.writer import Writer

        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        monkeypatch.setattr(Writer, "__enter__", mock.Mock(side_effect=OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            merge_files(base, finetuned, tmp_path / "out.safetensors", device=0)

    def test_what_one_device_has_begun_another_may_go_on_with(
        self, fake: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from negmerge_ext.checkpoint import writer

        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        base, finetuned = make_pool(2, shapes={f"t{i}": (300, 300) for i in range(12)}).save(tmp_path)
        memory = least_memory(base, finetuned, tmp_path)
        out = tmp_path / "out.safetensors"
        with fake.failing("merge", 25), pytest.raises(DeviceError):
            merge_files(base, finetuned, out, device=0, threads=1, max_memory=memory)
        report = merge_files(base, finetuned, out, resume=True)
        assert report.resumed
        merge_files(base, finetuned, tmp_path / "again.safetensors", device=0)
        assert out.read_bytes() == (tmp_path / "again.safetensors").read_bytes()

    def test_a_file_that_shrinks_meanwhile(self, fake: FakeDevice, tmp_path: Path) -> None:
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        out = tmp_path / "out.safetensors"
        cut = [finetuned[1]]

        def progress(done: int, total: int) -> None:
            for path in cut:
                os.truncate(path, 2000)

        with pytest.raises(SourceChangedError, match="finetuned-1"):
            merge_files(base, finetuned, out, device=0, progress=progress)
        assert not out.exists()

    @pytest.mark.parametrize("device", ["cuda:1", "cuda:7"])
    def test_a_device_that_is_not_there(self, device: str, fake: FakeDevice, tmp_path: Path) -> None:
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        before = listing(tmp_path)
        with pytest.raises(DeviceError, match=f"'{device}' was asked for, and there are 1 CUDA devices"):
            negmerge_ext.merge(base, finetuned, out=tmp_path / "out.safetensors", device=device)
        assert listing(tmp_path) == before

    def test_a_base_in_main_memory(self, fake: FakeDevice, tmp_path: Path) -> None:
        pool = make_pool(2, shapes=SHAPES)
        _, finetuned = pool.save(tmp_path)
        base = {name: as_torch(array) for name, array in pool.base.items()}
        with pytest.raises(DeviceError, match="is on cpu, not on cuda:0"):
            negmerge_ext.merge(base, finetuned, out=tmp_path / "out.safetensors", device="cuda")
