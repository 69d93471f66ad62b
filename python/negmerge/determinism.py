"""Torch's global settings during a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def settings(device: torch.device, threads: int) -> Iterator[None]:
    """Within the block torch uses ``threads`` CPU threads and, on the CPU, deterministic algorithms.

    The number of threads is part of it: sums are split among them, and so rounded differently. On a GPU it
    takes whichever algorithm is fastest, and rounds factors of products to TF32.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
    )
    torch.set_num_threads(threads)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
    else:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.set_float32_matmul_precision(before[2])
        torch.backends.cudnn.benchmark = before[3]
