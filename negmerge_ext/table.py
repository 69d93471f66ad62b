"""Names, dtypes and shapes of a checkpoint's tensors in columns: whole checkpoints compare at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from . import dtypes
from .source import TensorInfo, Unfit

RowsT = TypeVar("RowsT", covariant=True)


class TensorTable(Mapping[str, TensorInfo]):
    """What is known of each tensor of a checkpoint; as a mapping, it describes those that are asked for.

    names: in stored order. dtype: int64 ``[tensors]``, numbers of ``dtype_names``, which begin with
    :data:`~negmerge_ext.dtypes.NAMES`. numel: int64 ``[tensors]``. dims: as bytes of int64, for each tensor
    the number of its dimensions and their sizes.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        dtype: np.ndarray,
        numel: np.ndarray,
        dims: bytes,
        dtype_names: tuple[str, ...] = dtypes.NAMES,
    ) -> None:
        self.names = names
        self.dtype = dtype
        self.numel = numel
        self.dtype_names = dtype_names
        self._dims = dims

    @classmethod
    def of(cls, tensors: Mapping[str, TensorInfo]) -> TensorTable:
        """The table of described tensors: ``tensors`` itself if it is one."""
        if isinstance(tensors, TensorTable):
            return tensors
        # Dtypes that only a library has (quantised ones, strings, …) get the numbers after the known ones.
        numbers = dict(dtypes.NUMBERS)
        codes = [numbers.setdefault(info.dtype, len(numbers)) for info in tensors.values()]
        shapes = [info.shape for info in tensors.values()]
        return cls(
            tuple(tensors),
            np.array(codes, np.int64),
            np.array([info.numel for info in tensors.values()], np.int64),
            encoded(shapes),
            tuple(numbers),
        )

    def same_shapes(self, other: TensorTable) -> bool:
        """Whether both have the same names, in the same order, with the same shapes."""
        return self._dims == other._dims and self.names == other.names

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each tensor."""
        sizes = iter(np.frombuffer(self._dims, np.int64).tolist())
        return [tuple(islice(sizes, dimensions)) for dimensions in sizes]

    @cached_property
    def _infos(self) -> dict[str, TensorInfo]:
        described = map(TensorInfo, map(self.dtype_names.__getitem__, self.dtype.tolist()), self.shapes)
        return dict(zip(self.names, described, strict=True))

    def __getitem__(self, name: str) -> TensorInfo:
        return self._infos[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class TabledSource(ABC, Generic[RowsT]):
    """A :class:`~negmerge_ext.source.Source` whose tensors come as a table, to be reached by place."""

    label: str
    tensors: TensorTable
    unfit: Mapping[str, Unfit]

    @abstractmethod
    def rows(self, names: Sequence[str]) -> RowsT: ...
    @abstractmethod
    def rows_at(self, places: np.ndarray) -> RowsT:
        """What ``rows`` gives for the tensors at these places."""


def encoded(shapes: list[tuple[int, ...]]) -> bytes:
    """The ``dims`` of a table."""
    flat: list[int] = []
    for shape in shapes:
        flat.append(len(shape))
        flat.extend(shape)
    return np.array(flat, np.int64).tobytes()
