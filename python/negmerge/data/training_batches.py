"""Training images in random order, batch by batch, on the device of the model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from ..devices import sent
from ..schedule import steps_per_epoch
from .examples import Examples

#: Images in memory that take more bytes than this are not copied to the device as a whole.
_RESIDENT = 4 << 30


@dataclass(frozen=True, slots=True)
class Batch:
    """Images of one set: uint8 ``[n, channels, height, width]`` and int64 labels ``[n]``, on the device.

    source: the position of its :class:`~negmerge.data.examples.Examples` among those trained on.
    """

    source: int
    images: torch.Tensor
    labels: torch.Tensor


class TrainingBatches:
    """Batches of some examples, from all sets alike.

    Small sets lie on the device as uint8. Images in files are read batch by batch, one ahead, so that at
    most two batches are in memory.
    """

    def __init__(self, examples: Sequence[Examples], device: torch.device) -> None:
        self._readers = [_reader(one, device) for one in examples]
        self._starts = np.cumsum([0, *(len(one) for one in examples)])

    def __len__(self) -> int:
        """Number of images."""
        return int(self._starts[-1])

    def epoch(self, size: int, generator: torch.Generator) -> Generator[list[Batch]]:
        """All images once, shuffled, in :func:`steps_per_epoch` items.

        Each has ``size`` images, the last maybe fewer, grouped by set. A single image that is left joins the
        item before it: BatchNorm has no variance of one. To be closed by whoever leaves it before its end.
        """
        chunks = list(torch.split(torch.randperm(len(self), generator=generator), size))
        if len(chunks) > steps_per_epoch(len(self), size):
            chunks[-2:] = [torch.cat(chunks[-2:])]
        with ThreadPoolExecutor(max_workers=1) as ahead:
            following = ahead.submit(self._read, chunks[0])
            for chunk in chunks[1:]:
                batch, following = following.result(), ahead.submit(self._read, chunk)
                yield batch
            yield following.result()

    def _read(self, chunk: torch.Tensor) -> list[Batch]:
        batches = []
        for source, read in enumerate(self._readers):
            start, end = self._starts[source], self._starts[source + 1]
            within = chunk[(chunk >= start) & (chunk < end)] - start
            if len(within):
                batches.append(Batch(source, *read(within)))
        return batches


_Reader = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _reader(examples: Examples, device: torch.device) -> _Reader:
    """Reads images and labels at positions within ``examples``."""
    images, rows = examples.images.images, examples.rows
    labels = torch.from_numpy(examples.images.labels[rows]).to(device)
    if isinstance(images, np.ndarray) and len(rows) * images[:1].nbytes <= _RESIDENT:
        pixels = torch.from_numpy(images[rows]).to(device)

        def resident(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            positions = sent(positions, device)
            return pixels[positions], labels[positions]

        return resident

    def streamed(positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        read = torch.from_numpy(images[rows[positions.numpy()]])
        return sent(read, device), labels[sent(positions, device)]

    return streamed
