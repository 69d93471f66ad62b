"""Labelled images that models are trained or evaluated on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256

import numpy as np
import torch
from torch import nn

from ..spread import spread
from .batches import batches_of
from .image_set import ImageSet


@dataclass(frozen=True, eq=False)
class Examples:
    """Rows of an image set.

    label: what the set is called in the run. head: makes logits ``[n, classes]`` of what a model says of the
    images: nothing is to be done for a classifier; a model of images and text has a head for each data set.
    """

    label: str
    images: ImageSet
    rows: np.ndarray
    head: nn.Module = field(default_factory=nn.Identity)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def rows_sha256(self) -> str:
        """Checksum of which rows they are."""
        return sha256(self.rows.tobytes()).hexdigest()

    def spread(self, count: int) -> Examples:
        """``count`` of them, or all, spread evenly over the rows."""
        return replace(self, rows=self.rows[spread(count, len(self.rows))])

    def batches(self, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images uint8 ``[size, channels, height, width]`` and labels int64 ``[size]``, in order.

        The last batch may be smaller. Raises :class:`~negmerge.errors.CorruptImageError`.
        """
        return batches_of(self.images, self.rows, size)


@dataclass(frozen=True, eq=False)
class Part:
    """Of a split: what is forgotten, and of each retained data set what is retained."""

    forget: Examples
    retain: tuple[Examples, ...]
