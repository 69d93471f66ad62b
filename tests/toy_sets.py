"""Small data sets whose classes are told apart by where an image is bright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from negmerge.data import DATA_SETS
from negmerge.data.image_set import ImageSet
from negmerge.data.source import BuiltIn

_EACH = 24


def bright_parts(name: str, *, channels: int, side: int, seed: int) -> ImageSet:
    """Four classes: a bright quarter each, upon noise."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), _EACH)
    images = random.integers(0, 90, (len(labels), channels, side, side), dtype=np.uint8)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        down, right = divmod(label, 2)
        image[:, down * half : (down + 1) * half, right * half : (right + 1) * half] += 150
    return ImageSet(name, images, labels, ("upper left", "upper right", "lower left", "lower right"))


def _source(name: str, *, channels: int, side: int, seed: int) -> BuiltIn:
    return BuiltIn(name, name, lambda: bright_parts(name, channels=channels, side=side, seed=seed))


GREY = _source("toy-grey", channels=1, side=8, seed=0)
COLOUR = _source("toy-colour", channels=3, side=10, seed=1)
LARGE = _source("toy-large", channels=3, side=20, seed=2)

_ENTRIES = {
    "toy-grey": "toy_sets:GREY",
    "toy-colour": "toy_sets:COLOUR",
    "toy-large": "toy_sets:LARGE",
}


@contextmanager
def registered() -> Iterator[pytest.MonkeyPatch]:
    """Within the block recipes can name the sets; gives what undoes further changes at its end."""
    with pytest.MonkeyPatch.context() as patched:
        for name, entry in _ENTRIES.items():
            patched.setitem(DATA_SETS._entries, name, entry)
        yield patched
