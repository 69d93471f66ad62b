"""The yardstick of a GPU: how fast it copies within its memory."""

from __future__ import annotations

import torch


class DeviceCopy:
    """Copies half of ``nbytes`` into the other half; every byte of them moves once, read or written."""

    def __init__(self, nbytes: int, device: str = "cuda") -> None:
        self._source = torch.zeros(nbytes // 2, dtype=torch.uint8, device=device)
        self._target = torch.zeros_like(self._source)
        self.moved = 2 * self._source.nbytes

    def __call__(self) -> None:
        """Enqueue the copy."""
        self._target.copy_(self._source)
