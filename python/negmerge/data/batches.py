"""Images of an image set, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from .image_set import ImageSet


def batches_of(images: ImageSet, rows: np.ndarray, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images uint8 ``[size, channels, height, width]`` and labels int64 ``[size]`` at ``rows``, in their
    order.

    The last batch may be smaller. While one is used the next is read, so that at most two are in memory,
    however many images there are. Raises :class:`~negmerge.errors.CorruptImageError`.
    """

    def read(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        chunk = rows[start : start + size]
        return torch.from_numpy(images.images[chunk]), torch.from_numpy(images.labels[chunk])

    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(read, 0)
        for start in range(size, len(rows), size):
            batch, following = following.result(), reader.submit(read, start)
            yield batch
        yield following.result()
