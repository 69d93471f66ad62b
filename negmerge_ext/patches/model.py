"""The tensors of a model that a patch is applied to in place: found, checked and reached by address."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..compatibility import unfit_problems
from ..errors import InputError, NegmergeError, UnsupportedTensorError, raise_problems
from ..in_memory.copying import copy_elements, packed_copy
from ..in_memory.device_memory import CPU
from ..in_memory.overlap import overlaps_itself, overlaps_within, tied_tensors
from ..in_memory.plain_tensor import Value, footprint, is_torch
from ..in_memory.state_dict import MemoryRows, StateDictSource, as_mapping
from .description import Description

if TYPE_CHECKING:
    from ..in_memory.state_dict import StateDict

#: Where tensors lie: the addresses of their first elements (0 for empty ones, whose address is arbitrary),
#: and the strides of each that is not packed in row-major order.
Places: TypeAlias = tuple[bytes, tuple[tuple[int, tuple[int, ...]], ...]]

_LABEL = "model"


class PatchableModel:
    """The tensors of a state dict or module that a patch changes, one per tensor of its description.

    places: where they lie; models with equal places are the same model.

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
        names = [tensor.name for tensor in description.tensors]
        source = StateDictSource({name: named[name] for name in names if name in named}, _LABEL)
        raise_problems(unfit_problems(_LABEL, source.unfit))
        raise_problems([*description.mismatches(source.tensors, _LABEL), *_unwritable(source)])
        self.rows = source.rows(names)
        self.places = _places(self.rows)
        self._description = description

    @cached_property
    def tied(self) -> dict[int, int]:
        """Index of a tensor to that of the earlier one that is the same memory; only that is written."""
        return tied_tensors(self._description.tensors, self.rows)

    def check_overlaps(self) -> None:
        """Raises :class:`UnsupportedTensorError` if elements share their memory without being tied."""
        tensors = self._description.tensors
        problems = [
            _problem(tensors[index].name, "has elements that share their memory", "Use .clone()")
            for index in np.flatnonzero(~self.rows.row_major).tolist()
            if overlaps_itself(footprint(self.rows.values[index]))
        ]
        raise_problems(problems)
        problems = [
            _problem(
                tensors[later].name,
                f"shares part of its memory with '{tensors[index].name}'",
                "Give every tensor its own memory",
            )
            for index, later in overlaps_within(self.rows, self.tied)
        ]
        raise_problems(problems)

    @property
    def written(self) -> list[int]:
        """Indices of the tensors that are written, ties once."""
        return [index for index in range(len(self.rows)) if index not in self.tied]

    def batches(self) -> Iterator[list[int]]:
        """The written tensors: those packed in row-major order together for each device, others alone."""
        device, row_major = self.rows.device.tolist(), self.rows.row_major.tolist()
        for number in sorted(set(device)):
            yield [index for index in self.written if row_major[index] and device[index] == number]
        yield from ([index] for index in self.written if not row_major[index])

    def device_of(self, batch: list[int]) -> int:
        """The device that the tensors of a batch are on."""
        return int(self.rows.device[batch[0]]) if batch else CPU

    @contextmanager
    def row_major(self, batch: list[int], *, write: bool) -> Iterator[np.ndarray]:
        """int64 ``[len(batch)]``: addresses at which the tensors of a batch lie in row-major order.

        Addresses are those of the tensors' device. A tensor with another layout is copied; with ``write``,
        the copy is put back when the block ends without an exception.
        """
        if self.rows.row_major[batch].all():
            yield self.rows.start[batch]
            return
        (index,) = batch
        value, name = self.rows.values[index], self._description.tensors[index].name
        packed, address = packed_copy(value, name)
        yield np.array([address], np.int64)
        if write:
            copy_elements(packed, value, name)

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


def _problem(name: str, fault: str, remedy: str) -> UnsupportedTensorError:
    return UnsupportedTensorError(fault, path=_LABEL, tensor=name, remedy=remedy)


def _places(rows: MemoryRows) -> Places:
    empty = np.array([value.nbytes == 0 for value in rows.values])
    strided = np.flatnonzero(~rows.row_major).tolist()
    return (
        np.where(empty, 0, rows.start).tobytes(),
        tuple((index, footprint(rows.values[index]).strides) for index in strided),
    )
