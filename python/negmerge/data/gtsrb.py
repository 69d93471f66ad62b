"""GTSRB: 26,640 training and 12,630 test images of German traffic signs, 43 classes.

Source: Stallkamp et al., Man vs. computer: Benchmarking machine learning algorithms for traffic sign
recognition, 2012. Training images are those of the competition, as torchvision and NegMerge's protocol have
them.
"""

from __future__ import annotations

import csv
from pathlib import Path

from .file_set import Files, class_folders, file_set, files_of_classes
from .image_set import ImageSet
from .routes import Archive, Official
from .source import InFiles, unreadable

_SERVER = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370"
_TRAINING, _TEST, _TRUTH = "gtsrb/GTSRB/Training", "gtsrb/GTSRB/Final_Test/Images", "gtsrb/GT-final_test.csv"

_LIMITS = (20, 30, 50, 60, 70, 80)
_CLASSES = (
    *(f"speed limit {speed} km/h" for speed in _LIMITS),
    "end of speed limit 80 km/h",
    *(f"speed limit {speed} km/h" for speed in (100, 120)),
    "no overtaking",
    "no overtaking by lorries",
    "right of way at the next crossing",
    "priority road",
    "yield",
    "stop",
    "no vehicles",
    "no lorries",
    "no entry",
    "danger",
    "bend to the left",
    "bend to the right",
    "double bend",
    "uneven road",
    "slippery road",
    "road narrows on the right",
    "road works",
    "traffic lights ahead",
    "pedestrians",
    "children",
    "bicycles",
    "snow or ice",
    "wild animals",
    "end of all limits",
    "turn right ahead",
    "turn left ahead",
    "ahead only",
    "ahead or right",
    "ahead or left",
    "keep right",
    "keep left",
    "roundabout",
    "end of no overtaking",
    "end of no overtaking by lorries",
)


def _index(name: str, folder: Path, side: int) -> ImageSet:
    truth = folder / _TRUTH
    try:
        with truth.open(encoding="ascii", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter=";"))
        test: Files = [(folder / _TEST / row["Filename"], int(row["ClassId"])) for row in rows]
    except (KeyError, ValueError) as problem:
        raise unreadable(truth, problem) from problem
    train = files_of_classes(folder / _TRAINING, class_folders(folder / _TRAINING))
    return file_set(name, folder, side, _CLASSES, train=train, test=test)


SOURCE = InFiles(
    name="gtsrb",
    title="39,270 traffic signs, 43 classes",
    index=_index,
    layout=(_TRAINING, _TEST, _TRUTH),
    unpack_into="gtsrb",
    routes=(
        Official(
            tuple(
                Archive(file, size, sha256, (f"{_SERVER}/{file}",))
                for file, size, sha256 in (
                    (
                        "GTSRB-Training_fixed.zip",
                        187_490_228,
                        "df4144942083645bd60b594de348aa6930126c3e0e5de09e39611630abf8455a",
                    ),
                    (
                        "GTSRB_Final_Test_Images.zip",
                        88_978_620,
                        "48ba6fab7e877eb64eaf8de99035b0aaecfbc279bee23e35deca4ac1d0a837fa",
                    ),
                    (
                        "GTSRB_Final_Test_GT.zip",
                        99_620,
                        "f94e5a7614d75845c74c04ddb26b8796b9e483f43541dd95dd5b726504e16d6d",
                    ),
                )
            )
        ),
    ),
)
