"""Torch's global settings during a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(threads: int) -> Iterator[None]:
    """Within the block torch uses deterministic algorithms and ``threads`` CPU threads.

    The number of threads is part of it: sums are split among them, and so rounded differently.
    """
    # Without it cuBLAS refuses to be deterministic; it is read when the first CUDA matrix product is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
