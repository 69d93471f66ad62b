"""The tensors of a model that a patch is applied to in place: found, checked and reached by address."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..compatibility import unfit_problems
from ..errors import InputError, NegmergeError, UnsupportedTensorError, raise_problems
from ..in_memory.overlap import overlaps_itself, overlaps_within, tied_tensors
from ..in_memory.plain_tensor import Value, is_torch, raw_view
from ..in_memory.state_dict import MemoryRows, StateDictSource, as_mapping
from .description import Description

if TYPE_CHECKING:
    from ..in_memory.state_dict import StateDict

#: Where a tensor lies: address of its first element, and its strides unless it is packed in row-major order.
Place: TypeAlias = tuple[int, tuple[int, ...] | None]

_LABEL = "model"


class PatchableModel:
    """The tensors of a state dict or module that a patch changes, one per tensor of its description.

    places: where they lie; models with equal places are the same model. tied: index of a tensor to the
    index of the earlier one that is the same memory; only the latter is written.

    Raises, all problems together: :class:`PatchMismatchError` for tensors that are missing or of another
    shape or dtype than the patch's base, :class:`UnsupportedTensorError` for memory that cannot be written.
    """

    def __init__(self, description: Description, model: StateDict) -> None:
        if isinstance(model, (str, os.PathLike)):
            raise InputError(
                "is a path, and this changes a model in memory",
                path=model,
                remedy="Load the model, or use apply_to_file()",
            )
        named = as_mapping(model, _LABEL)
        present = {tensor.name: named[tensor.name] for tensor in description.tensors if tensor.name in named}
        source = StateDictSource(present, _LABEL)
        raise_problems(unfit_problems(_LABEL, source.unfit))
        raise_problems([*description.mismatches(source.tensors, _LABEL), *_unwritable(source)])
        self.rows = source.rows([tensor.name for tensor in description.tensors])
        self.places: tuple[Place, ...] = tuple(_places(self.rows))
        self.tied = tied_tensors(description.tensors, self.rows)
        raise_problems(
            [
                _problem(
                    description.tensors[later].name,
                    f"shares part of its memory with '{description.tensors[index].name}'",
                    "Give every tensor its own memory",
                )
                for index, later in overlaps_within(self.rows, self.tied)
            ]
        )

    @property
    def written(self) -> list[int]:
        """Indices of the tensors that are written, ties once."""
        return [index for index in range(len(self.places)) if index not in self.tied]

    def batches(self) -> Iterator[list[int]]:
        """The written tensors: those packed in row-major order together, every other one alone."""
        yield [index for index in self.written if self.rows.row_major[index]]
        yield from ([index] for index in self.written if not self.rows.row_major[index])

    @contextmanager
    def row_major(self, batch: Sequence[int], *, write: bool) -> Iterator[dict[int, int]]:
        """Addresses at which the tensors of a batch lie in row-major order, by index.

        A tensor with another layout is copied; with ``write``, the copy is put back when the block ends
        without an exception.
        """
        address = {index: int(self.rows.start[index]) for index in batch}
        if all(self.rows.row_major[index] for index in batch):
            yield address
            return
        (index,) = batch
        raw = raw_view(self.rows.values[index])
        packed = np.ascontiguousarray(raw)
        yield {index: packed.ctypes.data}
        if write:
            np.copyto(raw, packed)

    def when_freed(self, forget: Any) -> weakref.ref[Any]:
        """A reference that calls ``forget`` once the memory of the first tensor that has any is freed."""
        first = next((value for value in self.rows.values if value.nbytes), self.rows.values[0])
        return weakref.ref(_owner(first), forget)


def _owner(value: Value) -> Any:
    """The object that lives as long as the memory of ``value``."""
    if is_torch(value):
        return value.untyped_storage()  # type: ignore[union-attr]
    owner: Any = value
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return owner


def _unwritable(source: StateDictSource) -> Iterator[NegmergeError]:
    for name, value in zip(source.tensors, source.values, strict=True):
        if name in source.copied:
            yield _problem(
                name, "does not hold its values in plain memory", "Copy it into an ordinary tensor"
            )
        elif isinstance(value, np.ndarray) and not value.flags.writeable:
            yield _problem(name, "is a read-only array", "Copy it")
        elif overlaps_itself(raw_view(value)):
            yield _problem(name, "has elements that share their memory", "Use .clone()")


def _problem(name: str, fault: str, remedy: str) -> UnsupportedTensorError:
    return UnsupportedTensorError(fault, path=_LABEL, tensor=name, remedy=remedy)


def _places(rows: MemoryRows) -> Iterator[Place]:
    for value, start, row_major in zip(rows.values, rows.start.tolist(), rows.row_major, strict=True):
        # The address of nothing is arbitrary.
        yield start if value.nbytes else 0, None if row_major else raw_view(value).strides
