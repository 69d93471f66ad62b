"""Stanford Cars: 16,185 photographs, 196 models of cars.

Source: Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013. Its server is
gone; the archives below are recognised where somebody has kept them.
"""

from __future__ import annotations

from functools import partial

from .routes import Archive, Official
from .source import InFiles
from .torchvision_files import through_torchvision

SOURCE = InFiles(
    name="stanford-cars",
    title="16,185 photographs of cars, 196 models",
    index=partial(through_torchvision, "StanfordCars", train=("train",), test="test"),
    layout=tuple(
        f"stanford_cars/{path}"
        for path in ("devkit", "cars_train", "cars_test", "cars_test_annos_withlabels.mat")
    ),
    unpack_into="stanford_cars",
    routes=(
        Official(
            (
                Archive(
                    "cars_train.tgz",
                    979_269_282,
                    "512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
                ),
                Archive(
                    "cars_test.tgz",
                    977_350_468,
                    "bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
                ),
                Archive(
                    "car_devkit.tgz",
                    330_960,
                    "b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
                ),
                Archive(
                    "cars_test_annos_withlabels.mat",
                    185_758,
                    "790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
                ),
            )
        ),
    ),
    by_hand="Put cars_train.tgz, cars_test.tgz, car_devkit.tgz and "
    "cars_test_annos_withlabels.mat, whose server is gone, into the data folder",
)
