"""Applying a patch to a model in place, again and again from the same base values, and undoing it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import dtypes, native
from ..errors import PatchMismatchError, TiedTensorError, raise_problems
from ..in_memory.device_memory import CPU, CallOrder
from ..in_memory.plain_tensor import mark_written
from ..in_memory.room import Room
from ..native import Position
from ..options import MODES
from .description import Description
from .fingerprint import fingerprint_of_device, fingerprints
from .model import PatchableModel, Places
from .on_device import DeviceData, move_on_device, remember_on_device
from .sections import MemorySections, kept_before

if TYPE_CHECKING:
    import torch

    from ..in_memory.state_dict import StateDict

_BASE = Position(base=True)
#: The base bits of every tensor begin at a multiple of it, in bytes.
_ALIGNMENT = 64


@dataclass
class _Applied:
    """What is remembered of a model that the patch is applied to.

    base: for each device, memory with the bits of its kept elements before the patch. rows: of
    ``native.PATCHED``, one per patched tensor, without the addresses of the model. positions: where the kept
    elements are; each at one of these if moving them was cut short. memory: tells when the model is gone.
    """

    base: list[Room]
    rows: np.ndarray
    positions: list[Position]
    memory: weakref.ref[Any]


class InPlacePatch:
    """Applies one patch to models in memory; what is needed to undo it is remembered for each model.

    Models are told apart by the memory of their tensors, so a module, its state dict and any view of it are
    one model. What is remembered goes when the patch is reverted or the model's memory is freed.
    """

    def __init__(self, description: Description, sections: MemorySections) -> None:
        self._description = description
        self._sections = sections
        self._kept_before = [
            kept_before(tensor, sections.keep(index, 0, tensor.numel))
            for index, tensor in enumerate(description.tensors)
        ]
        self._rows = np.array(
            [
                (
                    0,
                    sections.keep(index, 0, tensor.numel).ctypes.data,
                    sections.values(index, 0, tensor.kept).ctypes.data,
                    0,
                    self._kept_before[index].ctypes.data,
                    tensor.numel,
                    dtypes.CODES[tensor.dtype],
                    dtypes.CODES[tensor.compute],
                )
                for index, tensor in enumerate(description.tensors)
            ],
            native.PATCHED,
        )
        self._device_data = DeviceData(description, sections, self._kept_before)
        self._applied: dict[Places, _Applied] = {}
        self._order = CallOrder()

    def apply(self, state: StateDict, scale: float, mode: str, threads: int) -> None:
        """Move the kept elements of ``state`` from their base values along ``scale`` times the merged vector.

        Raises :class:`PatchMismatchError` unless the model is the patch's base, or that base with this patch
        applied and unchanged since; the model is then as it was.
        """
        model = self._found(state)
        target = Position(base=False, mode=MODES[mode], scale=scale)
        applied = self._applied.get(model.places)
        if applied is not None and self._move(model, applied, target, threads):
            return
        model.check_overlaps()
        self._check_ties(model)
        self._check_fingerprints(model, threads, was_applied=applied is not None)
        if not self._move(model, self._remember(model, threads), target, threads):
            raise PatchMismatchError("was changed while the patch was being applied to it", path="model")

    def revert(self, state: StateDict, threads: int) -> None:
        """Give the model its base values back, to the bit, and forget it.

        Raises :class:`PatchMismatchError` if the patch is not applied to the model or was written over.
        """
        model = self._found(state)
        applied = self._applied.get(model.places)
        if applied is None:
            raise PatchMismatchError("this patch is not applied to the model", path="model")
        if not self._move(model, applied, _BASE, threads):
            raise PatchMismatchError(
                "patched elements were changed after the patch was applied",
                path="model",
                remedy="Undo that change first (revert the latest patch first), or load the base again",
            )
        del self._applied[model.places]

    def _found(self, state: StateDict) -> PatchableModel:
        model = PatchableModel(self._description, state)
        if not model.rows.on_cpu:
            # A call that ends as it should has waited for its work; one that fails may leave some.
            self._order.enter(np.unique(model.rows.device).tolist(), self._on_devices)
        return model

    def _on_devices(self) -> Iterator[torch.Tensor]:
        """What is remembered on devices."""
        yield from self._device_data.on_devices()
        for applied in list(self._applied.values()):  # models may be freed meanwhile
            yield from (memory for room in applied.base if (memory := room.on_device) is not None)

    def _check_ties(self, model: PatchableModel) -> None:
        tensors = self._description.tensors
        problems = [
            TiedTensorError(
                f"shares its memory with '{tensors[first].name}', but the patch differs for the two",
                path="model",
                tensor=tensors[index].name,
                remedy="Make the patch from checkpoints in which both are equal, or exclude both",
            )
            for index, first in model.tied.items()
            if not self._equal(index, first)
        ]
        raise_problems(problems)

    def _equal(self, index: int, other: int) -> bool:
        a, b = self._description.tensors[index], self._description.tensors[other]
        return (a.fingerprint, a.compute, a.kept) == (b.fingerprint, b.compute, b.kept) and all(
            np.array_equal(one.view(np.uint8), two.view(np.uint8))
            for one, two in (
                (self._sections.keep(index, 0, a.numel), self._sections.keep(other, 0, a.numel)),
                (self._sections.values(index, 0, a.kept), self._sections.values(other, 0, a.kept)),
            )
        )

    def _check_fingerprints(self, model: PatchableModel, threads: int, *, was_applied: bool) -> None:
        tensors = self._description.tensors
        differing: list[int] = []
        for batch in model.batches():
            device = model.device_of(batch)
            if device != CPU:
                found = [
                    fingerprint_of_device(model.rows.values[index], device, tensors[index].name)
                    for index in batch
                ]
            else:
                with model.row_major(batch, write=False) as address:
                    nbytes = [tensors[index].nbytes for index in batch]
                    found = fingerprints(address.tolist(), nbytes, threads)
            differing += [
                index
                for index, digest in zip(batch, found, strict=True)
                if digest != tensors[index].fingerprint
            ]
        if differing:
            more = len(differing) - 1
            others = f" (so do {more} others)" if more > 1 else " (so does another)" if more else ""
            since = ", and was changed since this patch was applied to it" if was_applied else ""
            raise PatchMismatchError(
                f"differs from the base that the patch was made from{others}{since}",
                path="model",
                tensor=tensors[min(differing)].name,
                remedy="Apply the patch to its own base, without other patches on it",
            )

    def _remember(self, model: PatchableModel, threads: int) -> _Applied:
        rows = self._rows.copy()
        base: list[Room] = []
        for device in np.unique(model.rows.device).tolist():
            # Tied tensors have the base of the one that is written.
            written = [index for index in model.written if model.rows.device[index] == device]
            tensors = [self._description.tensors[index] for index in written]
            nbytes = np.array([dtypes.nbytes(tensor.dtype, tensor.kept) for tensor in tensors], np.int64)
            size = -(-nbytes // _ALIGNMENT) * _ALIGNMENT
            base.append(Room(int(size.sum()), device))
            rows["base"][written] = base[-1].address + np.cumsum(size) - size
            if device != CPU:
                self._device_data.fill_in(rows, written, device)
        for batch in model.batches():
            device = model.device_of(batch)
            with model.row_major(batch, write=False) as address:
                if device == CPU:
                    native.remember(_at(rows, batch, address), threads=threads)
                else:
                    remember_on_device(_at(rows, batch, address), device)
        places, records = model.places, self._applied
        applied = _Applied(base, rows, [_BASE], model.when_freed(lambda _: records.pop(places, None)))
        records[places] = applied
        return applied

    def _move(self, model: PatchableModel, applied: _Applied, target: Position, threads: int) -> bool:
        """Move all kept elements; ``False``, with the model as it was, if any is not where it should be."""
        interrupted = len(applied.positions) > 1
        if interrupted and not self._move_from(model, applied, applied.positions[0], threads):
            return False
        return self._move_from(model, applied, target, threads)

    def _move_from(self, model: PatchableModel, applied: _Applied, target: Position, threads: int) -> bool:
        """:meth:`_move` from one position, or from two to the first of them."""

        def move(batch: list[int], source: list[Position], target: Position) -> bool:
            with model.row_major(batch, write=True) as address:
                rows, device = _at(applied.rows, batch, address), model.device_of(batch)
                if device == CPU:
                    return native.move(rows, source, target, threads=threads)
                return move_on_device(rows, source, target, device)

        before, moved = applied.positions, list[list[int]]()
        if len(before) == 1:
            applied.positions = [*before, target]
        try:
            for batch in model.batches():
                if not move(batch, before, target):
                    for earlier in moved:
                        move(earlier, [target], before[0])
                    applied.positions = before
                    return False
                moved.append(batch)
            applied.positions = [target]
            return True
        finally:
            mark_written(model.rows.values)


def _at(rows: np.ndarray, batch: list[int], address: np.ndarray) -> np.ndarray:
    """The rows of a batch whose tensors lie at ``address``."""
    chosen = rows[batch]
    chosen["elements"] = address
    return chosen
