"""Tests of merging files on a device, which a GPU and the fake device of other tests share."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import oracle
import pytest
from pools import make_pool, merge_files, read_file

from negmerge_ext import Patch, inspect
from negmerge_ext.errors import DeviceMemoryError, MemoryBudgetError

#: Larger than a slot of the smallest budget, smaller than a block, a scalar, nothing, and a copied one.
SHAPES = {
    "large": (700, 500),
    "norm": (77,),
    "scale": (),
    "empty": (0, 5),
    "steps": (1000,),
    "head": (90, 250),
}
#: So much passes through the slots that workers take tens of megabytes of the device.
LARGE = {"large": (1500, 2000), "norm": (77,)}


class Device(Protocol):
    """CUDA device 0, or what stands for it."""

    def full(self) -> AbstractContextManager[None]:
        """Leave less memory than a merge of :data:`LARGE` tensors takes."""


class StoppedError(Exception):
    """Raised by a progress function."""


def stop_late(done: int, total: int) -> None:
    if done > 0.8 * total:
        raise StoppedError


def least_memory(
    base: Path, finetuned: list[Path], folder: Path, *, device: int | None = 0, **options: Any
) -> int:
    """The smallest budget that a merge of these files can have, in bytes."""
    out = folder / "unwritten.safetensors"
    with pytest.raises(MemoryBudgetError) as caught:
        merge_files(base, finetuned, out, max_memory=1, device=device, options=options)
    [needed] = re.findall(r"needs (\d+)", str(caught.value))
    return int(needed)


class FilesOnDevice:
    """A subclass has a fixture ``device``, which finds out whether anything of it is left."""

    @pytest.mark.parametrize("models", [1, 2, 37])
    def test_every_budget_gives_the_cpu_s_bytes(self, models: int, device: Device, tmp_path: Path) -> None:
        """In the smallest one a slot holds a part of a tensor, of one model at a time."""
        base, finetuned = make_pool(models, shapes=SHAPES).save(tmp_path)
        least = least_memory(base, finetuned, tmp_path)
        cpu = merge_files(base, finetuned, tmp_path / "cpu.safetensors")
        for memory, threads in [(least, 1), (least + (1 << 20), 3), (None, None)]:
            out = tmp_path / f"{memory}.safetensors"
            report = merge_files(base, finetuned, out, max_memory=memory, threads=threads, device=0)
            assert out.read_bytes() == (tmp_path / "cpu.safetensors").read_bytes()
            assert report.merged == cpu.merged
            assert report.device == "cuda:0"
            assert report.device_bytes > 0
            assert memory is None or report.buffer_bytes <= memory

    @pytest.mark.parametrize("out_dtype", [None, "float16"])
    @pytest.mark.parametrize("mode", ["negate", "vector"])
    def test_mixed_dtypes(self, mode: str, out_dtype: str | None, device: Device, tmp_path: Path) -> None:
        dtypes = (oracle.BF16, oracle.F64, oracle.F32, oracle.E4M3, oracle.F16)
        pool = make_pool(6, shapes=SHAPES, base_dtypes=dtypes[::-1], finetuned_dtypes=dtypes)
        options = {"mode": mode, "out_dtype": out_dtype, "scale": 0.3}
        paths = pool.save(tmp_path)
        cpu = merge_files(*paths, tmp_path / "cpu.safetensors", options=options)
        for memory in (least_memory(*paths, tmp_path, **options), None):
            out = tmp_path / f"{memory}.safetensors"
            cuda = merge_files(*paths, out, max_memory=memory, device=0, options=options)
            found, expected = read_file(out), read_file(tmp_path / "cpu.safetensors")
            assert found.keys() == expected.keys()
            assert all(oracle.same_bits(found[name], array) for name, array in expected.items())
            assert repr(cuda.merged) == repr(cpu.merged)  # norms may be NaN

    def test_verified(self, device: Device, tmp_path: Path) -> None:
        base, finetuned = make_pool(3, shapes=SHAPES).save(tmp_path)
        out = tmp_path / "out.safetensors"
        assert merge_files(base, finetuned, out, device=0, verify=True).verified
        merge_files(base, finetuned, tmp_path / "cpu.safetensors")
        assert out.read_bytes() == (tmp_path / "cpu.safetensors").read_bytes()

    @pytest.mark.parametrize("devices", [(0, 0), (0, None), (None, 0)], ids=str)
    def test_resumed(
        self,
        devices: tuple[int | None, int | None],
        device: Device,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Also what a device has begun by the CPU, and the other way round."""
        from negmerge_ext.checkpoint import writer

        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        base, finetuned = make_pool(2, shapes={f"t{i}": (300, 300) for i in range(12)}).save(tmp_path)
        first, second = (
            {"device": number, "max_memory": least_memory(base, finetuned, tmp_path, device=number)}
            for number in devices
        )
        merge_files(base, finetuned, tmp_path / "cpu.safetensors")
        out = tmp_path / "out.safetensors"
        with pytest.raises(StoppedError):
            merge_files(base, finetuned, out, progress=stop_late, **first)
        assert not out.exists()
        report = merge_files(base, finetuned, out, resume=True, **second)
        assert report.resumed
        assert out.read_bytes() == (tmp_path / "cpu.safetensors").read_bytes()

    def test_without_memory_of_the_device(self, device: Device, tmp_path: Path) -> None:
        base, finetuned = make_pool(2, shapes=LARGE).save(tmp_path)
        first, out = tmp_path / "first.safetensors", tmp_path / "out.safetensors"
        report = merge_files(base, finetuned, first, threads=16, device=0)
        assert report.device_bytes > 32 << 20
        before = sorted(tmp_path.iterdir())
        with device.full(), pytest.raises(DeviceMemoryError, match=r"cuda:0: .*out of memory.*--threads"):
            merge_files(base, finetuned, out, threads=16, device=0)
        assert sorted(tmp_path.iterdir()) == before
        merge_files(base, finetuned, out, threads=16, device=0)
        assert out.read_bytes() == first.read_bytes()

    def test_reports_and_patches(self, device: Device, tmp_path: Path) -> None:
        base, finetuned = make_pool(5, shapes=SHAPES).save(tmp_path)
        cpu, cuda = (inspect(base, finetuned, device=name) for name in ("cpu", "cuda:0"))
        assert cuda.merged == cpu.merged
        assert (cpu.device, cuda.device) == ("cpu", "cuda:0")
        for number, name in enumerate(["cpu", "cuda:0"]):
            Patch.make(base, finetuned, out=tmp_path / f"{number}.patch", device=name)
        assert (tmp_path / "0.patch").read_bytes() == (tmp_path / "1.patch").read_bytes()
