"""Torch's global settings during a run."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

#: A module whose attributes are made at run time.
_deterministic: Any = torch.utils.deterministic
#: Numbers of mallopt's parameters, from glibc's malloc.h, and what they take at most.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _MOST = -1, -3, 2**31 - 1


@contextmanager
def settings(device: torch.device, threads: int) -> Iterator[None]:
    """Within the block torch uses ``threads`` CPU threads and, on the CPU, deterministic algorithms.

    The number of threads is part of it: sums are split among them, and so rounded differently. On a GPU it
    takes whichever algorithm is fastest, and rounds factors of products to TF32.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        _deterministic.fill_uninitialized_memory,
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
    )
    torch.set_num_threads(threads)
    if device.type == "cpu":
        _keep_freed_memory()
        torch.use_deterministic_algorithms(True)
        # Nothing here reads what it has not written, and filling all memory takes time.
        _deterministic.fill_uninitialized_memory = False
    else:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        _deterministic.fill_uninitialized_memory = before[2]
        torch.set_float32_matmul_precision(before[3])
        torch.backends.cudnn.benchmark = before[4]


def _keep_freed_memory() -> None:
    """Has glibc keep what is freed for what is allocated next, for the rest of the process.

    Otherwise the activations of every step go back to the system and are had from it again, page by page:
    a quarter of the time of training a small CLIP. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MOST)
        mallopt(_M_TRIM_THRESHOLD, _MOST)
