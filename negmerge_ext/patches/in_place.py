"""Applying a patch to a model in place, again and again from the same base values, and undoing it."""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .. import native
from ..dtypes import BITS, CODES
from ..errors import PatchMismatchError, TiedTensorError, raise_problems
from ..in_memory.plain_tensor import mark_written
from ..options import MODES
from .description import Description
from .fingerprint import fingerprint
from .model import PatchableModel, Place
from .sections import MemorySections, Segment, all_kept, segments

if TYPE_CHECKING:
    from ..in_memory.state_dict import StateDict

_ResultT = TypeVar("_ResultT")


@dataclass
class _Applied:
    """What is remembered of a model that the patch is applied to.

    base: per tensor, the bits of its kept elements before the patch, as unsigned integers (nothing for tied
    ones). checksums: per segment, of what was written in their place; ``None`` while writing is under way.
    memory: tells when the model is gone.
    """

    base: list[np.ndarray]
    checksums: list[int] | None
    memory: weakref.ref[Any]


class InPlacePatch:
    """Applies one patch to models in memory; what is needed to undo it is remembered for each model.

    Models are told apart by the memory of their tensors, so a module, its state dict and any view of it are
    one model. What is remembered goes when the patch is reverted or the model's memory is freed.
    """

    def __init__(self, description: Description, sections: MemorySections) -> None:
        self._description = description
        self._sections = sections
        self._segments: list[list[Segment]] = [[] for _ in description.tensors]
        for segment in segments(description, sections):
            if segment.kept:
                self._segments[segment.tensor].append(segment)
        self._applied: dict[tuple[Place, ...], _Applied] = {}

    def apply(self, state: StateDict, scale: float, mode: str, threads: int) -> None:
        """Move the kept elements of ``state`` from their base values along ``scale`` times the merged vector.

        Raises :class:`PatchMismatchError` unless the model is the patch's base, or that base with this patch
        applied and unchanged since. The model is only written once all of it has been checked.
        """
        model = PatchableModel(self._description, state)
        self._check_ties(model)
        with ThreadPoolExecutor(threads, thread_name_prefix="negmerge-patch") as pool:
            applied = self._applied.get(model.places)
            if applied is None or not self._is_unchanged(model, applied, pool):
                self._check_fingerprints(model, pool, applied is not None)
                applied = self._remember(model, pool)
            self._write(model, applied, scale, mode, pool)

    def revert(self, state: StateDict, threads: int) -> None:
        """Give the model its base values back, to the bit, and forget it.

        Raises :class:`PatchMismatchError` if the patch is not applied to the model or was written over.
        """
        model = PatchableModel(self._description, state)
        applied = self._applied.get(model.places)
        if applied is None:
            raise PatchMismatchError("this patch is not applied to the model", path="model")
        with ThreadPoolExecutor(threads, thread_name_prefix="negmerge-patch") as pool:
            if not self._is_unchanged(model, applied, pool):
                raise PatchMismatchError(
                    "patched elements were changed after the patch was applied",
                    path="model",
                    remedy="Undo that change first (revert the latest patch first), or load the base again",
                )

            def restore(segment: Segment, address: int) -> int:
                return self._scatter(
                    segment, applied.base[segment.tensor][segment.first : segment.last], address
                )

            applied.checksums = None
            try:
                self._over_segments(model, restore, pool, write=True)
            finally:
                mark_written(model.rows.values)
        del self._applied[model.places]

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

    def _check_fingerprints(self, model: PatchableModel, pool: ThreadPoolExecutor, was_applied: bool) -> None:
        tensors = self._description.tensors
        differing: list[int] = []
        for batch in model.batches():
            with model.row_major(batch, write=False) as address:
                found = pool.map(lambda index: fingerprint(address[index], tensors[index].nbytes), batch)
                differing += [
                    i for i, digest in zip(batch, found, strict=True) if digest != tensors[i].fingerprint
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

    def _remember(self, model: PatchableModel, pool: ThreadPoolExecutor) -> _Applied:
        base = [
            np.empty(0 if index in model.tied else tensor.kept, f"u{BITS[tensor.dtype] // 8}")
            for index, tensor in enumerate(self._description.tensors)
        ]

        def gather(segment: Segment, address: int) -> None:
            self._gather(segment, address, base[segment.tensor][segment.first : segment.last])

        self._over_segments(model, gather, pool, write=False)
        places, records = model.places, self._applied
        applied = _Applied(base, None, model.when_freed(lambda _: records.pop(places, None)))
        records[places] = applied
        return applied

    def _is_unchanged(self, model: PatchableModel, applied: _Applied, pool: ThreadPoolExecutor) -> bool:
        """Whether the patched elements still are what was written; writing cut short counts as unchanged."""

        def checksum(segment: Segment, address: int) -> int:
            itemsize = BITS[self._description.tensors[segment.tensor].dtype] // 8
            found = np.empty(segment.kept, f"u{itemsize}")
            self._gather(segment, address, found)
            return zlib.crc32(found.data)

        if applied.checksums is None:
            return True
        return self._over_segments(model, checksum, pool, write=False) == applied.checksums

    def _write(
        self, model: PatchableModel, applied: _Applied, scale: float, mode: str, pool: ThreadPoolExecutor
    ) -> None:
        def move(segment: Segment, address: int) -> int:
            tensor = self._description.tensors[segment.tensor]
            base = applied.base[segment.tensor][segment.first : segment.last]
            values = self._sections.values(segment.tensor, segment.first, segment.last)
            moved, keep = np.empty_like(base), all_kept(segment.kept)
            native.apply_patch(
                mode=MODES[mode],
                scale=scale,
                numel=segment.kept,
                compute=CODES[tensor.compute],
                base=base.ctypes.data,
                base_dtype=CODES[tensor.dtype],
                out=moved.ctypes.data,
                out_dtype=CODES[tensor.dtype],
                keep=keep.ctypes.data,
                values=values.ctypes.data,
                threads=1,
            )
            return self._scatter(segment, moved, address)

        applied.checksums = None
        try:
            applied.checksums = self._over_segments(model, move, pool, write=True)
        finally:
            mark_written(model.rows.values)

    def _over_segments(
        self,
        model: PatchableModel,
        work: Callable[[Segment, int], _ResultT],
        pool: ThreadPoolExecutor,
        *,
        write: bool,
    ) -> list[_ResultT]:
        """Call ``work(segment, address of its tensor)`` for every segment with kept elements, ties once."""
        results: list[_ResultT] = []
        for batch in model.batches():
            parts = [segment for index in batch for segment in self._segments[index]]
            with model.row_major(batch, write=write) as address:
                results += pool.map(lambda segment: work(segment, address[segment.tensor]), parts)
        return results

    def _gather(self, segment: Segment, address: int, packed: np.ndarray) -> None:
        keep = self._sections.keep(segment.tensor, segment.begin, segment.end)
        offset = segment.begin * packed.itemsize
        native.gather(segment.numel, packed.itemsize, address + offset, keep.ctypes.data, packed.ctypes.data)

    def _scatter(self, segment: Segment, packed: np.ndarray, address: int) -> int:
        """Put packed elements under the keep bits of a segment; returns their checksum."""
        keep = self._sections.keep(segment.tensor, segment.begin, segment.end)
        offset = segment.begin * packed.itemsize
        native.scatter(segment.numel, packed.itemsize, packed.ctypes.data, keep.ctypes.data, address + offset)
        return zlib.crc32(packed.data)
