"""The file of an unfinished merge: ``values/{name}`` (F32 or F64) and ``signs/{name}`` (U8) as safetensors.

The values are those that the method runs up; its ``__metadata__`` says what it is the merge of. The file
takes its place at once and durably.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.base import TensorFile
from ..checkpoint.disk import write_all, write_errors
from ..checkpoint.files import open_source, read_exactly
from ..checkpoint.provenance import InputIdentity
from ..checkpoint.publish import publish
from ..checkpoint.safetensors import build_header, read_header
from ..checkpoint.strict_json import parse_object
from ..checkpoint.work_folder import WorkFolder
from ..errors import CheckpointError, OutputError, OutputExistsError
from .running_sum import RunningSum

_KEY = "negmerge.accumulator"
_VERSION = 1
_DAMAGED = "Give a file that Accumulator.save wrote"


@dataclass(frozen=True, slots=True)
class SumDescription:
    """What an unfinished merge is of.

    method: with its parameters. include, exclude: patterns. inputs: base and models so far. tensors: names of
    the merged tensors, in order. fingerprints: of the base's tensors among them.
    """

    method: str
    include: tuple[str, ...] | None
    exclude: tuple[str, ...] | None
    inputs: tuple[InputIdentity, ...]
    tensors: tuple[str, ...]
    fingerprints: tuple[str, ...]


def write_sums(path: Path, description: SumDescription, running: RunningSum, *, overwrite: bool) -> None:
    """Write a running sum to ``path``, a tensor at a time.

    Raises :class:`~negmerge_ext.errors.OutputExistsError` if something is there and is not to be overwritten,
    :class:`~negmerge_ext.errors.DiskSpaceError` or :class:`~negmerge_ext.errors.OutputError` if the system
    cannot write.
    """
    target = path.resolve()
    if target.is_dir():
        raise OutputError("is a folder, and sums are one file", path=target, remedy="Give a file's name")
    if target.exists() and not overwrite:
        raise OutputExistsError("exists already", path=target, remedy="Give another name, or overwrite=True")
    sections = []
    for index, name in enumerate(description.tensors):
        values, signs = running.contents(index)
        dtype = "F64" if values.itemsize == 8 else "F32"
        sections += [(f"values/{name}", dtype, values.shape), (f"signs/{name}", "U8", signs.shape)]
    text = json.dumps({"version": _VERSION, **asdict(description)}, separators=(",", ":"))
    layout = build_header(sections, {_KEY: text})
    work = WorkFolder(target)
    try:
        with write_errors(target):
            work.clear()
            descriptor = os.open(work.result, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            try:
                write_all(descriptor, memoryview(layout.header), 0)
                for index, name in enumerate(description.tensors):
                    for kind, values in zip(("values", "signs"), running.contents(index), strict=True):
                        if values.size:
                            write_all(descriptor, values.data.cast("B"), layout.offsets[f"{kind}/{name}"])
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            publish(work)
    finally:
        work.remove()


def read_description(path: Path) -> tuple[SumDescription, TensorFile]:
    """What the sums in a file are of, and where they lie in it.

    Raises :class:`~negmerge_ext.errors.CheckpointError` for anything but such a file.
    """
    stored = read_header(path)
    text = stored.metadata.get(_KEY)
    if text is None:
        raise CheckpointError("holds no unfinished merge", path=path, remedy=_DAMAGED)
    try:
        plain = parse_object(text.encode())
        if plain.pop("version", None) != _VERSION:
            raise ValueError("of another release")
        found = SumDescription(
            method=_text(plain["method"]),
            include=_texts(plain["include"]),
            exclude=_texts(plain["exclude"]),
            inputs=tuple(InputIdentity(_text(one["name"]), int(one["size"])) for one in plain["inputs"]),
            tensors=_texts(plain["tensors"]) or (),
            fingerprints=_texts(plain["fingerprints"]) or (),
        )
    except (ValueError, KeyError, TypeError) as problem:
        raise CheckpointError(
            "has a description that cannot be read", path=path, remedy=_DAMAGED
        ) from problem
    if len(found.inputs) < 2 or len(found.tensors) != len(found.fingerprints):
        raise CheckpointError("has a description that cannot be", path=path, remedy=_DAMAGED)
    return found, stored


def read_sums(stored: TensorFile, description: SumDescription, running: RunningSum) -> None:
    """Give a new running sum what the file has.

    Raises :class:`~negmerge_ext.errors.CheckpointError` if the sections do not fit the sum's tensors.
    """
    if len(stored.tensors) != 2 * len(description.tensors):
        raise CheckpointError(
            "holds tensors that its description does not name", path=stored.file.path, remedy=_DAMAGED
        )
    with open_source(stored.file.path) as (descriptor, file):
        for index, name in enumerate(description.tensors):
            found = []
            for kind, expected in zip(("values", "signs"), running.contents(index), strict=True):
                section = stored.tensors.get(f"{kind}/{name}")
                if (
                    section is None
                    or section.shape != expected.shape
                    or not _same_dtype(section.dtype, expected)
                ):
                    raise CheckpointError(
                        f"has no {kind} that fits the base's tensor",
                        path=file.path,
                        tensor=name,
                        remedy=_DAMAGED,
                    )
                values = np.empty_like(expected)
                if values.size:
                    read_exactly(descriptor, file, section.offset, values.data.cast("B"))
                found.append(values)
            running.restore(index, *found)
    running.models = len(description.inputs) - 1


def stored_in_double(stored: TensorFile, name: str) -> bool:
    """Whether the sum of a tensor is in fp64."""
    section = stored.tensors.get(f"values/{name}")
    return section is not None and section.dtype == "F64"


def _same_dtype(name: str, values: np.ndarray) -> bool:
    return {"F64": np.float64, "F32": np.float32, "U8": np.uint8}.get(name) == values.dtype


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return value


def _texts(value: Sequence[Any] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(map(_text, value))
