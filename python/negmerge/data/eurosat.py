"""EuroSAT, RGB: 27,000 satellite images of 64×64 pixels, 10 classes.

Source: Helber et al., EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover
Classification, 2019. Nobody published splits with it. Here a tenth of every class is the test split and
another tenth the validation split, always the same: 21,600, 2,700 and 2,700 images, the sizes in NegMerge's
protocol, but not its images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .file_set import Files, file_set, files_of_classes
from .image_set import ImageSet
from .routes import Archive, Official
from .source import InFiles

_CLASSES = {
    "AnnualCrop": "annual crops",
    "Forest": "forest",
    "HerbaceousVegetation": "grass and shrub land",
    "Highway": "highway",
    "Industrial": "industrial buildings",
    "Pasture": "pasture",
    "PermanentCrop": "permanent crops",
    "Residential": "residential buildings",
    "River": "river",
    "SeaLake": "sea or lake",
}
_SEED = 0


def _index(name: str, folder: Path, side: int) -> ImageSet:
    files = files_of_classes(folder / "eurosat" / "2750", list(_CLASSES))
    labels = np.array([label for _, label in files])
    generator = np.random.default_rng(_SEED)
    parts: dict[str, Files] = {"train": [], "test": [], "validation": []}
    for label in range(len(_CLASSES)):
        rows = generator.permutation(np.flatnonzero(labels == label))
        tenth = len(rows) // 10
        for part, drawn in zip(
            ("test", "validation", "train"), np.split(rows, [tenth, 2 * tenth]), strict=True
        ):
            parts[part] += [files[row] for row in np.sort(drawn)]
    return file_set(name, folder, side, list(_CLASSES.values()), **parts)


SOURCE = InFiles(
    name="eurosat",
    title="27,000 satellite images, 64×64, 10 classes",
    index=_index,
    layout=("eurosat/2750",),
    unpack_into="eurosat",
    routes=(
        Official(
            (
                Archive(
                    "EuroSAT.zip",
                    94_280_567,
                    "8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
                    (
                        "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
                        "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
                        "http://madm.dfki.de/files/sentinel/EuroSAT.zip",
                    ),
                ),
            )
        ),
    ),
)
