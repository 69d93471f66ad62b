"""State dicts and modules as sources of a plan: names, metadata and addresses."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..source import TensorInfo, Unfit
from .plain_tensor import NotPlainError, Value, everyday_info, locate, raw_view

if TYPE_CHECKING:
    import torch

    StateDict = Mapping[str, Any] | torch.nn.Module


class MemoryRows:
    """Where some tensors of a state dict lie in memory.

    values: the tensors, kept alive. start: int64 ``[tensors]``, the address of each one's first element.
    row_major: bool ``[tensors]``, whether the elements lie there packed in row-major order.
    """

    def __init__(self, values: list[Value], start: np.ndarray, row_major: np.ndarray) -> None:
        self.values = values
        self.start = start
        self.row_major = row_major
        self._copies: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(int(value.nbytes) for value in self.values)

    @cached_property
    def address(self) -> np.ndarray:
        """int64 ``[tensors]``: where each tensor's elements lie in row-major order.

        Tensors stored otherwise are copied on first use, and the copies live as long as the rows.
        """
        if self.row_major.all():
            return self.start
        address = self.start.copy()
        for index in np.flatnonzero(~self.row_major).tolist():
            copy = np.ascontiguousarray(raw_view(self.values[index]))
            self._copies.append(copy)
            address[index] = copy.ctypes.data
        return address


class StateDictSource:
    """A state dict (torch tensors, numpy arrays or both) or a module, as the planner's ``Source``.

    Nothing is copied, apart from the few tensors whose memory does not hold their values (numpy arrays of
    foreign byte order, torch's lazily conjugated or negated views): ``copied`` has their names. ``state``
    is the mapping itself, ``values`` its tensors in order. Entries that are no tensors, or tensors without
    plain CPU memory, are in ``unfit`` only, with the reason; whether they matter is for the plan to say.
    """

    def __init__(self, state: StateDict, label: str) -> None:
        self.label = label
        self.tensors: dict[str, TensorInfo] = {}
        self.values: list[Value] = []
        self.copied: set[str] = set()
        self.unfit: dict[str, Unfit] = {}
        self._start: list[int] = []
        self._row_major: list[bool] = []
        self.state = as_mapping(state, label)
        self._scan(self.state)

    def rows(self, names: Sequence[str]) -> MemoryRows:
        """Where the tensors ``names`` lie, in that order."""
        start = np.array(self._start, np.int64)
        row_major = np.array(self._row_major, bool)
        if list(names) == list(self.tensors):
            return MemoryRows(self.values, start, row_major)
        position = {name: index for index, name in enumerate(self.tensors)}
        chosen = [position[name] for name in names]
        return MemoryRows([self.values[index] for index in chosen], start[chosen], row_major[chosen])

    def _scan(self, state: Mapping[str, Any]) -> None:
        values = list(state.values())
        usual = _columns_of_usual_tensors(values)
        if usual is not None:
            infos, self._start, self._row_major = usual
            self.tensors = dict(zip(state, infos, strict=True))
            self.values = values
            return
        for name, value in zip(state, values, strict=True):
            try:
                located = locate(value)
            except NotPlainError as error:
                self.unfit[name] = error.reason
                continue
            self.tensors[name] = located.info
            self.values.append(located.value)
            self._start.append(located.address)
            self._row_major.append(located.row_major)
            if located.copied:
                self.copied.add(name)


def _columns_of_usual_tensors(values: list[Any]) -> tuple[list[TensorInfo], list[int], list[bool]] | None:
    """Descriptions, addresses and packing of torch tensors, if all are ordinary ones; else ``None``.

    Merging thousands of small tensors takes as long as looking at them, so this asks each tensor only what
    tells an ordinary one from a special one, in loops without bytecode.
    """
    torch = sys.modules.get("torch")
    if torch is None or not {torch.Tensor, torch.nn.Parameter}.issuperset(map(type, values)):
        return None
    tensor = torch.Tensor
    try:
        found = map(everyday_info, map(tensor.dtype.__get__, values), map(tensor.shape.__get__, values))
        infos = [info for info in found if info is not None]
        on_cpu, negated = map(tensor.is_cpu.__get__, values), map(tensor.is_neg, values)
        if len(infos) < len(values) or not all(on_cpu) or any(negated):
            return None
        return infos, list(map(tensor.data_ptr, values)), list(map(tensor.is_contiguous, values))
    except RuntimeError:  # sparse and nested tensors lack a shape or an address
        return None


def as_mapping(state: StateDict, label: str) -> Mapping[str, Any]:
    """The names and tensors of a state dict or module; a module's own parameters, not detached copies."""
    if is_module(state):
        named: Mapping[str, Any] = state.state_dict(keep_vars=True)  # type: ignore[union-attr]
        return named
    if not isinstance(state, Mapping):
        raise InputError(
            f"is a {type(state).__qualname__}, not a state dict, a module or a path",
            path=label,
            remedy="Give a mapping of names to tensors, an nn.Module, or the path of a checkpoint",
        )
    unnamed = [name for name in state if not isinstance(name, str)]
    if unnamed:
        raise InputError(
            f"has the key {unnamed[0]!r}, which is not a string",
            path=label,
            remedy="Give a mapping of tensor names to tensors",
        )
    return state


def is_module(value: object) -> bool:
    """Whether ``value`` is a ``torch.nn.Module``; imports nothing."""
    nn = getattr(sys.modules.get("torch"), "nn", None)
    return nn is not None and isinstance(value, nn.Module)
