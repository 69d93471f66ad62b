"""A small data set in several files, for ways that large files cannot go."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from negmerge_ext.errors import OptionError, OutputExistsError

from ..errors import DataError, MissingDataError
from ..run_folder import appearing_complete
from .packed import Packed

_FORMAT = "negmerge images 1, part"
_NAME = re.compile(r"images-(\d+)-of-(\d+)\.safetensors")
#: Bytes of a file that may be its header.
_HEADER = 1 << 16


def write_parts(packed: Packed, folder: Path, largest: int) -> list[Path]:
    """Write ``images-1-of-N.safetensors`` and so on, of ``largest`` bytes at most each.

    Raises :class:`~negmerge_ext.errors.OutputExistsError` if the folder has such files, and
    :class:`~negmerge_ext.errors.OptionError` if one image is larger.
    """
    if _there(folder):
        raise OutputExistsError("holds a data set in parts", path=folder, remedy="Give another folder")
    count = len(packed.labels)
    in_one = (largest - _HEADER) // (packed.images[:1].nbytes + packed.labels.itemsize)
    if in_one < 1:
        raise OptionError(f"a part of {largest:,} bytes holds no image", remedy="Allow larger parts")
    number = math.ceil(count / in_one)
    bounds = [count * part // number for part in range(number + 1)]
    paths = []
    for part, (first, end) in enumerate(itertools.pairwise(bounds), start=1):
        path = folder / f"images-{part}-of-{number}.safetensors"
        description = {
            "format": _FORMAT,
            "first": str(first),
            "images": str(count),
            "train": str(packed.train),
            "class_names": json.dumps(packed.class_names),
        }
        with appearing_complete(path) as unfinished:
            tensors = {"images": packed.images[first:end], "labels": packed.labels[first:end]}
            save_file(tensors, unfinished, metadata=description)
        paths.append(path)
    return paths


def has_all_parts(folder: Path) -> bool:
    """Whether the folder holds a data set in parts, and none is missing."""
    there = _there(folder)
    return bool(there) and not _missing(there)


def read_parts(folder: Path) -> Packed | None:
    """The data set that :func:`write_parts` wrote; ``None`` if the folder has no part of one.

    Raises :class:`~negmerge.errors.MissingDataError` if parts are missing, and
    :class:`~negmerge.errors.DataError` if one is damaged or they are not of one data set.
    """
    there = _there(folder)
    if not there:
        return None
    if missing := _missing(there):
        raise MissingDataError(
            f"{', '.join(missing)} of a data set in parts is not there",
            path=folder,
            remedy="Bring it, or remove the other parts",
        )
    pixels: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    described: list[dict[str, str]] = []
    for path in there:
        try:
            with safe_open(path, framework="numpy") as opened:
                description = opened.metadata() or {}
                if description.get("format") != _FORMAT:
                    raise ValueError("another format")
                first = int(description.pop("first"))
                if first != sum(map(len, labels)):
                    raise ValueError("it does not follow upon the part before")
                pixels.append(opened.get_tensor("images"))
                labels.append(opened.get_tensor("labels"))
                described.append(description)
                if len(pixels[-1]) != len(labels[-1]) or description != described[0]:
                    raise ValueError("it does not belong to the other parts")
                if pixels[-1].shape[1:] != pixels[0].shape[1:]:
                    raise ValueError("its images are not those of the other parts")
        except (OSError, SafetensorError, ValueError, KeyError) as problem:
            raise DataError(
                f"is no readable part of a data set: {problem}",
                path=path,
                remedy="Remove all parts, and bring those that were made together",
            ) from problem
    packed = Packed(
        images=np.concatenate(pixels),
        labels=np.concatenate(labels),
        train=int(described[0]["train"]),
        class_names=tuple(json.loads(described[0]["class_names"])),
    )
    if len(packed.labels) != int(described[0]["images"]):
        raise DataError("the parts have not all images of their data set", path=folder)
    return packed


def _there(folder: Path) -> list[Path]:
    """Parts in a folder, in order."""
    found = ((path, _NAME.fullmatch(path.name)) for path in folder.glob("images-*-of-*.safetensors"))
    return [path for _, path in sorted((int(name[1]), path) for path, name in found if name)]


def _missing(there: list[Path]) -> list[str]:
    """Names of the parts that are not among these; numbers of parts are those of the first."""
    name = _NAME.fullmatch(there[0].name)
    assert name is not None, "it was found by it"
    whole = [f"images-{part}-of-{name[2]}.safetensors" for part in range(1, int(name[2]) + 1)]
    return [part for part in whole if part not in {path.name for path in there}]
