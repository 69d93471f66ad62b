"""Where the data of a patch lies: keep bits and values of each tensor, in memory or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from .. import dtypes, native
from ..checkpoint.base import SourceFile
from ..checkpoint.files import FileReader
from ..errors import CheckpointError
from .description import PACK, Description, PatchedTensor, keep_nbytes

#: Elements of a tensor handled together where a patch is read or applied; a multiple of ``native.BLOCK``.
SEGMENT = 16 * native.BLOCK


class Sections(Protocol):
    """The data of a patch, tensors by their index in the description.

    ``keep`` gives the keep bits of the elements [begin, end), uint8 ``[2 * ceil((end - begin) / 16)]``;
    ``begin`` is a multiple of 16 and so is ``end``, unless it is the tensor's. ``values`` gives the kept
    values [begin, end), counted over the tensor, in the tensor's compute type. Neither may be written to.
    """

    def keep(self, index: int, begin: int, end: int) -> np.ndarray: ...
    def values(self, index: int, begin: int, end: int) -> np.ndarray: ...


class MemorySections:
    """Sections held in memory: one array of keep bits and one of values per tensor."""

    def __init__(self, keep: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> None:
        self._keep = tuple(keep)
        self._values = tuple(values)

    @property
    def kept(self) -> list[int]:
        """Number of values of each tensor."""
        return [array.size for array in self._values]

    def keep(self, index: int, begin: int, end: int) -> np.ndarray:
        return self._keep[index][keep_nbytes(begin) : keep_nbytes(end)]

    def values(self, index: int, begin: int, end: int) -> np.ndarray:
        return self._values[index][begin:end]


class FileSections:
    """Sections read from a patch file whenever they are asked for.

    keep, values: absolute byte offsets of each tensor's sections in ``file``. Reading raises as
    :meth:`~negmerge_ext.checkpoint.files.FileReader.read_into` does.
    """

    def __init__(
        self, description: Description, file: SourceFile, keep: Sequence[int], values: Sequence[int]
    ) -> None:
        self.file = file
        self._tensors = description.tensors
        self._keep_offsets = keep
        self._values_offsets = values

    def keep(self, index: int, begin: int, end: int) -> np.ndarray:
        start = self._keep_offsets[index] + keep_nbytes(begin)
        return self._read(start, keep_nbytes(end) - keep_nbytes(begin))

    def values(self, index: int, begin: int, end: int) -> np.ndarray:
        dtype = dtypes.to_numpy(self._tensors[index].compute)
        start = self._values_offsets[index] + begin * dtype.itemsize
        return self._read(start, (end - begin) * dtype.itemsize).view(dtype)

    def _read(self, offset: int, nbytes: int) -> np.ndarray:
        data = np.empty(nbytes, np.uint8)
        # Opened for every read: a patch may live long, and nobody closes it.
        with FileReader(max_open=1) as reader:
            reader.read_into(self.file, offset, data.data)
        return data


class Segment(NamedTuple):
    """Elements [begin, end) of a patched tensor, and its values [first, last) that belong to them."""

    tensor: int
    begin: int
    end: int
    first: int
    last: int

    @property
    def numel(self) -> int:
        return self.end - self.begin

    @property
    def kept(self) -> int:
        return self.last - self.first


def segments(description: Description, sections: Sections) -> Iterator[Segment]:
    """All tensors of a patch in segments, in order, with their keep bits checked on the way.

    Raises :class:`~negmerge_ext.errors.CheckpointError` where the keep bits contradict the description.
    """
    for index, tensor in enumerate(description.tensors):
        first = 0
        for begin in range(0, tensor.numel, SEGMENT):
            end = min(begin + SEGMENT, tensor.numel)
            last = first + count_kept(tensor, begin, end, first, sections.keep(index, begin, end))
            yield Segment(index, begin, end, first, last)
            first = last


def count_kept(tensor: PatchedTensor, begin: int, end: int, first: int, keep: np.ndarray) -> int:
    """Keep bits set among the elements [begin, end) of ``tensor``, of whose values ``first`` came before.

    Raises :class:`~negmerge_ext.errors.CheckpointError` if there are more in the tensor than it says, if at
    its end there are fewer, or if a bit behind its last element is set.
    """
    count = native.count(end - begin, keep.ctypes.data)
    _check_kept(tensor, begin, end, first + count, keep)
    return count


def _check_kept(tensor: PatchedTensor, begin: int, end: int, total: int, keep: np.ndarray) -> None:
    """keep: bits of the elements [begin, end). total: bits set up to ``end``."""
    surplus = int.from_bytes(keep[-2:].tobytes(), "little") >> ((end - begin - 1) % PACK + 1)
    if surplus or total > tensor.kept or (end == tensor.numel and total != tensor.kept):
        raise CheckpointError(
            f"patch has keep bits that do not match its {tensor.kept} kept elements",
            tensor=tensor.name,
            remedy="The patch file is damaged or was changed: make it again",
        )


def kept_before(tensor: PatchedTensor, keep: np.ndarray) -> np.ndarray:
    """int64 ``[blocks + 1]``: kept elements before each block of ``native.BLOCK`` elements, and all of them.

    keep: the keep bits of the whole tensor, checked as :func:`count_kept` does.
    """
    before = native.kept_before(tensor.numel, keep.ctypes.data)
    _check_kept(tensor, 0, tensor.numel, int(before[-1]), keep)
    return before


def in_memory(description: Description, sections: Sections) -> MemorySections:
    """``sections`` with all data in memory."""
    tensors = description.tensors
    return MemorySections(
        [sections.keep(index, 0, tensor.numel) for index, tensor in enumerate(tensors)],
        [sections.values(index, 0, tensor.kept) for index, tensor in enumerate(tensors)],
    )
