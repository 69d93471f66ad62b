"""The patch file: a safetensors file of ``keep/{name}`` (U8) and ``values/{name}`` (F32 or F64).

Tensors follow each other as their data becomes known, each one's keep bits before its values. How many values
a tensor has is known only behind its last element, so room for the longest possible header is left at the
beginning, and the header, padded with spaces, is written at the end. Padding bytes of a keep section put the
values at multiples of 8.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..checkpoint.disk import write_all, write_errors
from ..checkpoint.publish import publish
from ..checkpoint.safetensors import MAX_HEADER
from ..checkpoint.work_folder import WorkFolder
from ..errors import OutputError, OutputExistsError
from ..stats import TensorStats
from .description import Description, PatchedTensor, keep_nbytes
from .description_text import METADATA_KEY, to_text
from .fingerprint import DIGITS
from .sections import Sections, segments

#: Values begin at multiples of it: keep sections are padded.
ALIGNMENT = 8
_PREFIX = 8


def write_patch_file(path: Path, description: Description, sections: Sections, *, overwrite: bool) -> None:
    """Write a patch to ``path``; raises as :func:`new_patch_file` does."""
    with new_patch_file(path, description, overwrite=overwrite) as writer:
        for segment in segments(description, sections):
            keep = sections.keep(segment.tensor, segment.begin, segment.end)
            values = sections.values(segment.tensor, segment.first, segment.last)
            writer.append(segment.tensor, segment.begin, keep, values)
        writer.finish(description)


@contextmanager
def new_patch_file(path: Path, expected: Description, *, overwrite: bool) -> Iterator[PatchFileWriter]:
    """A writer for a file that takes its place at ``path`` when the block ends, durably and at once.

    If the block raises, what lay at ``path`` stays. Raises
    :class:`~negmerge_ext.errors.OutputExistsError` if something is there and ``overwrite`` is not given,
    :class:`~negmerge_ext.errors.DiskSpaceError` or :class:`~negmerge_ext.errors.OutputError` if the system
    cannot write.
    """
    target = path.resolve()
    _check_target(target, overwrite)
    work = WorkFolder(target)
    try:
        with write_errors(target):
            work.clear()
            descriptor = os.open(work.result, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            yield PatchFileWriter(descriptor, target, expected)
            with write_errors(target):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with write_errors(target):
            publish(work)
    finally:
        work.remove()


def _check_target(target: Path, overwrite: bool) -> None:
    if target.is_dir():
        raise OutputError("is a folder, and a patch is one file", path=target, remedy="Give a file's name")
    if not target.parent.is_dir():
        raise OutputError("the folder does not exist", path=target.parent, remedy="Make it first")
    if target.exists() and not overwrite:
        raise OutputExistsError(
            "exists already", path=target, remedy="Give another name, or overwrite=True (--overwrite)"
        )


class PatchFileWriter:
    """Writes a patch file whose kept elements are counted while it is written.

    descriptor: an empty file open for writing. target: what errors call it. expected: the patch as far as it
    is known; statistics and fingerprints do not count. Raises
    :class:`OutputError` if the header would be longer than readers of safetensors files accept.
    """

    def __init__(self, descriptor: int, target: Path, expected: Description) -> None:
        self._descriptor = descriptor
        self._target = target
        self._tensors = expected.tensors
        self._room = _longest_header(expected)
        self._start = _PREFIX + self._room
        self._index = 0
        self._kept = 0
        self._place = _place(0, expected.tensors[0].numel)

    def append(self, index: int, begin: int, keep: np.ndarray, values: np.ndarray) -> None:
        """Write the keep bits from element ``begin`` of tensor ``index`` on, and the values under them.

        Tensors come in order and each one's pieces too; ``begin`` is a multiple of 16.
        """
        while self._index < index:
            end = self._place.values + self._kept * self._itemsize
            self._index, self._kept = self._index + 1, 0
            self._place = _place(end, self._tensors[self._index].numel)
        self._write(self._place.keep + keep_nbytes(begin), keep)
        self._write(self._place.values + self._kept * self._itemsize, values)
        self._kept += len(values)

    def finish(self, description: Description) -> None:
        """Write the header; nothing can be appended afterwards."""
        text = _header(description, _places(description.tensors))
        text += b" " * (self._room - len(text))
        header = self._room.to_bytes(_PREFIX, "little") + text
        self._write(-self._start, np.frombuffer(header, np.uint8))
        last = description.tensors[-1]
        size = self._start + _places(description.tensors)[-1].values + last.values_nbytes
        # Nobody has written the padding behind a last section that has no values.
        with write_errors(self._target):
            os.ftruncate(self._descriptor, size)

    @property
    def _itemsize(self) -> int:
        return 8 if self._tensors[self._index].compute == "F64" else 4

    def _write(self, offset: int, data: np.ndarray) -> None:
        if data.size:
            with write_errors(self._target):
                write_all(self._descriptor, data.data.cast("B"), self._start + offset)


class _Place(NamedTuple):
    """Byte offsets of a tensor's two sections behind the header."""

    keep: int
    values: int


def _place(begin: int, numel: int) -> _Place:
    end = begin + keep_nbytes(numel)
    return _Place(begin, end + -end % ALIGNMENT)


def _places(tensors: Sequence[PatchedTensor]) -> list[_Place]:
    places = []
    end = 0
    for tensor in tensors:
        place = _place(end, tensor.numel)
        places.append(place)
        end = place.values + tensor.values_nbytes
    return places


def _header(description: Description, places: Sequence[_Place]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {METADATA_KEY: to_text(description)}}
    for tensor, place in zip(description.tensors, places, strict=True):
        keep = {"dtype": "U8", "shape": [place.values - place.keep], "data_offsets": list(place)}
        values_end = place.values + tensor.values_nbytes
        values = {
            "dtype": tensor.compute,
            "shape": [tensor.kept],
            "data_offsets": [place.values, values_end],
        }
        entries |= {f"keep/{tensor.name}": keep, f"values/{tensor.name}": values}
    return json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()


def _longest_header(expected: Description) -> int:
    """Bytes that the header takes at most, whatever the statistics are; a multiple of 8."""
    most = sys.float_info.max
    tensors = tuple(
        replace(
            tensor,
            fingerprint="0" * DIGITS,
            stats=TensorStats(tensor.name, tensor.numel, tensor.numel, most, most, tensor.numel),
        )
        for tensor in expected.tensors
    )
    # With fewer values every offset is smaller, but a keep section may get more padding: one digit more.
    room = len(_header(replace(expected, tensors=tensors), _places(tensors))) + len(tensors)
    room += -room % ALIGNMENT
    if room > MAX_HEADER:
        raise OutputError(
            f"the patch would have a header of {room} bytes, more than readers accept ({MAX_HEADER})",
            remedy="Make several patches, each with a part of the tensors (include)",
        )
    return room
