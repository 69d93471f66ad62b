"""SVHN, cropped: 99,289 colour images of house numbers' digits, 32×32 pixels.

Source: Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .packed import Packed
from .routes import Archive, Official
from .source import InMemory, unreadable

_SERVER = "http://ufldl.stanford.edu/housenumbers"


def _read(folder: Path) -> Packed | None:
    paths = [folder / f"{part}_32x32.mat" for part in ("train", "test")]
    if not all(path.is_file() for path in paths):
        return None
    train, test = map(_part, paths)
    return Packed.of_parts(train, test, tuple("0123456789"))


def _part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise unreadable(path, problem) from problem
    # The files count 1…10, where 10 is the digit 0, and have the image as the last axis.
    return np.transpose(images, (3, 2, 0, 1)), labels.ravel().astype(np.int64) % 10


SVHN = InMemory(
    name="svhn",
    title="99,289 digits of house numbers, 32×32, 10 classes",
    read=_read,
    routes=(
        Official(
            (
                Archive(
                    "train_32x32.mat",
                    182_040_794,
                    "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
                    (f"{_SERVER}/train_32x32.mat",),
                ),
                Archive(
                    "test_32x32.mat",
                    64_275_384,
                    "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
                    (f"{_SERVER}/test_32x32.mat",),
                ),
            )
        ),
    ),
)
