"""What a method takes of memory."""

from __future__ import annotations

import gc
import mmap
import sys

import pytest
import torch
from negmerge.peak_memory import PeakDeviceMemory, PeakMemory


@pytest.mark.skipif(sys.platform != "linux", reason="no other system tells")
def test_memory_that_is_held_no_more_counts():
    gc.collect()  # what other tests left is not to go while this one measures
    before = PeakMemory()
    nothing = before.nbytes
    assert nothing is not None
    # Straight from the system: an allocator may have it from what was freed, and keep it.
    with mmap.mmap(-1, 256 << 20) as memory:
        memory[:: mmap.PAGESIZE] = bytes((256 << 20) // mmap.PAGESIZE)
    peak = before.nbytes
    assert peak is not None
    assert peak >= nothing + (128 << 20)
    after = PeakMemory().nbytes
    assert after is not None
    assert after < peak


def test_a_cpu_has_no_memory_of_a_device():
    assert PeakDeviceMemory(torch.device("cpu")).nbytes is None


def test_a_gpu_is_asked_from_then_on(monkeypatch):
    calls = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: calls.append(device))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 5 * len(calls))
    device = torch.device("cuda:1")
    memory = PeakDeviceMemory(device)
    assert calls == [device]
    assert memory.nbytes == 5
