"""State dicts and modules as sources of a plan: names, metadata and addresses."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..source import Unfit
from ..table import TabledSource, TensorTable
from .copying import bring_bytes, packed_copy
from .device_memory import CPU
from .plain_tensor import Located, NotPlainError, Value, locate
from .scan import scan

if TYPE_CHECKING:
    import torch

    StateDict = Mapping[str, Any] | torch.nn.Module


class MemoryRows:
    """Where some tensors lie in memory.

    start: int64 ``[tensors]``, the address of each one's first element. row_major: bool ``[tensors]``,
    whether the elements lie there packed in row-major order, where a kernel can read them. sizes: int64
    ``[tensors]``, bytes of each. device: int64 ``[tensors]``, numbers of CUDA devices, -1 for the CPU;
    ``None``: all are on the CPU.
    ``values`` are the tensors, kept alive: ``held``, or those at the places ``at`` of it.
    """

    def __init__(
        self,
        held: Sequence[Value],
        start: np.ndarray,
        row_major: np.ndarray,
        sizes: np.ndarray,
        at: np.ndarray | None = None,
        device: np.ndarray | None = None,
    ) -> None:
        self.start = start
        self.row_major = row_major
        self.sizes = sizes
        self._held = held
        self._at = at
        self._device = device
        self._copies: dict[int, Value] = {}

    def __len__(self) -> int:
        return len(self.start)

    @cached_property
    def values(self) -> Sequence[Value]:
        """The tensors."""
        return self._held if self._at is None else [self._held[index] for index in self._at.tolist()]

    @property
    def on_cpu(self) -> bool:
        """Whether all tensors are on the CPU; told without looking at each."""
        return self._device is None

    @cached_property
    def device(self) -> np.ndarray:
        """int64 ``[tensors]``: number of each one's CUDA device, -1 for the CPU."""
        return np.full(len(self), CPU) if self._device is None else self._device

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return int(self.sizes.sum())

    @cached_property
    def address(self) -> np.ndarray:
        """int64 ``[tensors]``: where each tensor's elements lie in row-major order, on its own device.

        Tensors stored otherwise are copied on first use, and the copies live as long as the rows.
        """
        if self.row_major.all():
            return self.start
        address = self.start.copy()
        for index in np.flatnonzero(~self.row_major).tolist():
            self._copies[index], address[index] = packed_copy(self.values[index])
        return address

    def on_devices(self) -> Iterator[torch.Tensor]:
        """What lies on devices: tensors, and copies of those that are stored otherwise."""
        for value in (*self.values, *self._copies.values()):
            if not self.on_cpu and not isinstance(value, np.ndarray):
                yield value

    def read(self, index: int, offset: int, nbytes: int, address: int) -> None:
        """Copy bytes of a tensor in row-major order, from ``offset`` on, to an address of main memory.

        Waits for the device that the tensor lies on.
        """
        source = int(self.address[index]) + offset
        if self.on_cpu or self.device[index] == CPU:
            ctypes.memmove(address, source, nbytes)
        else:
            bring_bytes(self._copies.get(index, self.values[index]), offset, nbytes, address)


class StateDictSource(TabledSource[MemoryRows]):
    """A state dict (torch tensors, numpy arrays or both) or a module, as the planner's ``Source``.

    Nothing is copied, apart from the few tensors whose memory does not hold their values (numpy arrays of
    foreign byte order, torch's lazily conjugated or negated views): ``copied`` has their names. ``state``
    is the mapping itself, ``values`` its tensors in order. Entries that are no tensors, or tensors without
    plain memory of the CPU or a CUDA device, are in ``unfit`` only, with the reason; whether they matter is
    for the plan to say.
    """

    def __init__(self, state: StateDict, label: str) -> None:
        self.label = label
        self.state = _as_mapping(state, label)
        self.copied: set[str] = set()
        self.unfit: dict[str, Unfit] = {}
        values = tuple(self.state.values())
        found = scan(self.state, values)
        #: Whether all entries are torch tensors with plain memory.
        self.ordinary = found is not None
        if found is not None:
            self.tensors, self._start, self._row_major, self._sizes, self._device = found
            self.values: Sequence[Value] = values
            if self._device is not None and (self._start & 7).any():  # else all are at multiples of any size
                self._row_major &= self._aligned()
        else:
            _check_names(self.state, label)
            self._look_closely(values)

    def rows(self, names: Sequence[str]) -> MemoryRows:
        """Where the tensors ``names`` lie, in that order."""
        if names is self.tensors.names:
            return MemoryRows(self.values, self._start, self._row_major, self._sizes, device=self._device)
        position = {name: index for index, name in enumerate(self.tensors)}
        return self.rows_at(np.array([position[name] for name in names], np.int64))

    def rows_at(self, places: np.ndarray) -> MemoryRows:
        """Where the tensors at these places of ``tensors`` lie, in that order."""
        columns = self._start[places], self._row_major[places], self._sizes[places]
        return MemoryRows(
            self.values, *columns, places, None if self._device is None else self._device[places]
        )

    def _look_closely(self, values: Sequence[Any]) -> None:
        plain: dict[str, Located] = {}
        for name, value in zip(self.state, values, strict=True):
            try:
                plain[name] = locate(value)
            except NotPlainError as error:
                self.unfit[name] = error.reason
        found = plain.values()
        self.copied.update(name for name, located in plain.items() if located.copied)
        self.tensors = TensorTable.of({name: located.info for name, located in plain.items()})
        self.values = [located.value for located in found]
        self._start = np.array([located.address for located in found], np.int64)
        self._row_major = np.array([located.row_major for located in found], bool)
        self._sizes = np.array([located.value.nbytes for located in found], np.int64)
        device = np.array([located.device for located in found], np.int64)
        self._device = None if (device == CPU).all() else device
        if self._device is not None:
            self._row_major &= self._aligned()

    def _aligned(self) -> np.ndarray:
        """Which tensors lie at multiples of their elements' size, as devices need it, or on the CPU."""
        itemsize = self._sizes // np.maximum(self.tensors.numel, 1)
        return np.asarray((self._start % np.maximum(itemsize, 1) == 0) | (self._device == CPU))


def as_mapping(state: StateDict, label: str) -> Mapping[str, Any]:
    """The names and tensors of a state dict or module; a module's own parameters, not detached copies."""
    named = _as_mapping(state, label)
    _check_names(named, label)
    return named


def _as_mapping(state: StateDict, label: str) -> Mapping[str, Any]:
    if is_module(state):
        named: Mapping[str, Any] = state.state_dict(keep_vars=True)  # type: ignore[union-attr]
        return named
    if not isinstance(state, Mapping):
        raise InputError(
            f"is a {type(state).__qualname__}, not a state dict, a module or a path",
            path=label,
            remedy="Give a mapping of names to tensors, an nn.Module, or the path of a checkpoint",
        )
    return state


def _check_names(state: Mapping[str, Any], label: str) -> None:
    unnamed = [name for name in state if not isinstance(name, str)]
    if unnamed:
        raise InputError(
            f"has the key {unnamed[0]!r}, which is not a string",
            path=label,
            remedy="Give a mapping of tensor names to tensors",
        )


def is_module(value: object) -> bool:
    """Whether ``value`` is a ``torch.nn.Module``; imports nothing."""
    nn = getattr(sys.modules.get("torch"), "nn", None)
    return nn is not None and isinstance(value, nn.Module)
