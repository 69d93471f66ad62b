"""CUB-200-2011: 11,788 photographs of birds, 200 species.

Source: Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, 2011.
"""

from __future__ import annotations

from pathlib import Path

from .file_set import Files, file_set, spoken
from .image_set import ImageSet
from .routes import Archive, Official
from .source import InFiles, unreadable

_ROOT = "CUB_200_2011"
_LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


def _index(name: str, folder: Path, side: int) -> ImageSet:
    root = folder / _ROOT
    files, labels, trained, classes = (_numbered(root / path) for path in _LISTS)
    parts: dict[str, Files] = {"1": [], "0": []}
    try:
        for number, path in files.items():
            parts[trained[number]].append((root / "images" / path, int(labels[number]) - 1))
    except (KeyError, ValueError) as problem:
        raise unreadable(root, problem) from problem
    names = spoken([text.partition(".")[2].lower() for text in classes.values()])
    return file_set(name, folder, side, names, train=parts["1"], test=parts["0"])


def _numbered(path: Path) -> dict[str, str]:
    """The lines of a file, each without the number that it begins with, by that number."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {number: text for number, _, text in (line.partition(" ") for line in lines if line)}


SOURCE = InFiles(
    name="cub",
    title="11,788 photographs of birds, 200 species",
    index=_index,
    layout=tuple(f"{_ROOT}/{path}" for path in (*_LISTS, "images")),
    routes=(
        Official(
            (
                Archive(
                    "CUB_200_2011.tgz",
                    1_150_585_339,
                    "0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                    ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",),
                ),
            )
        ),
    ),
)
