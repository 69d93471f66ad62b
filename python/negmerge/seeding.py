"""Torch's global generator within a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .keys import derived_seed


@contextmanager
def seeded(*parts: Any) -> Iterator[None]:
    """Within the block torch's generator of the CPU is seeded by ``parts``; afterwards it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(*parts))
        yield
