"""Food-101: 101,000 photographs of dishes, 101 classes.

Source: Bossard et al., Food-101: Mining Discriminative Components with Random Forests, ECCV 2014.
"""

from __future__ import annotations

from functools import partial

from .routes import Archive, Official
from .source import InFiles
from .torchvision_files import through_torchvision

SOURCE = InFiles(
    name="food101",
    title="101,000 photographs of dishes, 101 classes",
    index=partial(through_torchvision, "Food101", train=("train",), test="test"),
    layout=("food-101/images", "food-101/meta/train.json"),
    routes=(
        Official(
            (
                Archive(
                    "food-101.tar.gz",
                    4_996_278_331,
                    "d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
                    ("http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",),
                ),
            )
        ),
    ),
)
