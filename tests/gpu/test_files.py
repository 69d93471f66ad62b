"""Merges between files on a GPU: the CPU's bytes in any budget, resumed, verified, and failing cleanly."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from files_on_device import SHAPES, FilesOnDevice
from pools import make_pool, merge_files
from programs import start_program

#: What a driver may keep of memory that is given back.
_KEPT = 16 << 20


def free_memory() -> int:
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(0)[0]


class Gpu:
    """GPU 0."""

    @contextmanager
    def full(self) -> Iterator[None]:
        """Has torch take whatever there is, in ever smaller pieces."""
        held = []
        for size in (1 << 30, 1 << 26, 1 << 24, 1 << 21):
            try:
                while True:
                    held.append(torch.empty(size, dtype=torch.uint8, device="cuda:0"))
            except torch.OutOfMemoryError:
                continue
        try:
            yield
        finally:
            held.clear()
            torch.cuda.empty_cache()


class TestFiles(FilesOnDevice):
    @pytest.fixture
    def device(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gpu]:
        """Whose memory is given back by the test."""
        folder = tmp_path_factory.mktemp("first")
        paths = make_pool(1, shapes=SHAPES).save(folder)
        merge_files(*paths, folder / "out.safetensors", device=0)  # a context and kernels stay
        before = free_memory()
        yield Gpu()
        assert free_memory() >= before - _KEPT


ON_THE_LAST_DEVICE = """
import sys
import torch
from negmerge_ext import merge

count = torch.cuda.device_count()
base, tuned, out = sys.argv[1:]
merge(base, [tuned], out=out, device=f"cuda:{count - 1}")
print(*(torch._C._cuda_hasPrimaryContext(number) for number in range(count)))
"""


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_no_context_is_made_on_other_devices(tmp_path: Path) -> None:
    base, [tuned] = make_pool(1, shapes=SHAPES).save(tmp_path)
    with start_program(ON_THE_LAST_DEVICE, str(base), str(tuned), str(tmp_path / "out.safetensors")) as run:
        out, errors = run.communicate(timeout=120)
    assert run.returncode == 0, errors
    *others, last = out.split()
    assert last == "True"
    assert set(others) == {"False"}
