"""An unfinished merge in memory: what its method knows of each element so far."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import native, native_cuda
from ..dtypes import BITS, CODES, NAMES
from ..in_memory.device_memory import CPU
from ..in_memory.room import Room
from ..in_memory.state_dict import MemoryRows
from ..options import MODES
from ..patches.builder import PatchTarget
from ..patches.description import keep_nbytes
from ..patches.sections import SEGMENT
from ..plan import Plan
from ..stats import NATIVE_STATS
from .cuda import merge_batch

if TYPE_CHECKING:
    import torch

#: Compute types by native code.
_TYPES: dict[int, np.dtype] = {CODES["F64"]: np.dtype(np.float64), CODES["F32"]: np.dtype(np.float32)}


class RunningSum:
    """The merged tensors of ``plan`` on their way; its tensors are numbered as in ``plan.merged``.

    Takes 4 bytes (8 where C is fp64) for each of the method's running values and, if it looks at signs, two
    bits per element, however many models are added, on the device that the base's tensor is on. base: the
    rows of all tensors of the base; they must not change. numel: int64, elements of each; compute: int64,
    native codes of their compute types.
    """

    def __init__(self, plan: Plan[MemoryRows], base: MemoryRows) -> None:
        merged = plan.tensors.merged
        self.models = 0
        self.numel = plan.tensors.table.numel[merged]
        self.compute = plan.tensors.compute[merged]
        self._method = plan.options.method
        self._rows = base  # keeps the memory at these addresses
        self._device = base.device[merged]
        self._base = base.address[merged]
        self._base_dtype = plan.tensors.table.dtype[merged]
        itemsize = np.array([_TYPES[code].itemsize for code in self.compute.tolist()], np.int64)
        self._value_bytes = self._method.values * itemsize  # of an element
        self._mask_bytes = np.array([keep_nbytes(numel) for numel in self.numel.tolist()], np.int64)
        masks = 2 if self._method.signs else 0
        self._values, self._signs = (
            [Room(*of_tensor) for of_tensor in zip(nbytes.tolist(), self._device.tolist(), strict=True)]
            for nbytes in (self.numel * self._value_bytes, masks * self._mask_bytes)
        )
        self._values_at, self._signs_at = (
            np.array([room.address for room in rooms], np.int64) for rooms in (self._values, self._signs)
        )

    def on_devices(self) -> Iterator[torch.Tensor]:
        """Memory of sums and signs that lies on devices."""
        for room in (*self._values, *self._signs):
            if (memory := room.on_device) is not None:
                yield memory

    def workspaces(self) -> dict[int, Room]:
        """Room on every device for one :meth:`add`.

        Raises :class:`~negmerge_ext.errors.DeviceMemoryError`.
        """
        return {
            device: Room(native_cuda.workspace_bytes(self.numel[self._device == device], 1, False), device)
            for device in np.unique(self._device).tolist()
            if device != CPU
        }

    def add(
        self,
        finetuned: np.ndarray,
        dtypes: np.ndarray,
        thresholds: np.ndarray | None,
        threads: int,
        workspaces: dict[int, Room],
    ) -> None:
        """Add a model, given by the addresses and native dtype codes of its tensors.

        thresholds: float64 ``[tensors, 1]``, if the method trims. What a signal handler raises can come out
        of it, and the sums are unusable then. Work for a device is on torch's current stream when this
        returns.
        """
        nowhere = np.zeros_like(self.numel)
        self._merge(
            *(MODES["vector"], 0.0, finetuned, dtypes, nowhere, self.compute, threads),
            workspaces=workspaces,
            thresholds=thresholds,
        )
        self.models += 1

    def finish(self, mode: str, scale: float, out: np.ndarray, out_dtype: np.ndarray, threads: int) -> None:
        """Write the result to the addresses ``out`` (0: nothing).

        The sums stay as they are, for further models or another result. Devices are not waited for.
        """
        none = np.empty(0, np.int64)
        self._merge(MODES[mode], scale, none, none, out, out_dtype, threads)

    def statistics(self, threads: int) -> np.ndarray:
        """Native statistics of each tensor's merged vector so far."""
        rows = np.zeros(len(self.numel), NATIVE_STATS)
        none, nowhere = np.empty(0, np.int64), np.zeros_like(self.numel)
        self._merge(MODES["vector"], 0.0, none, none, nowhere, self.compute, threads, rows)
        return rows

    def vector_into(self, patch: PatchTarget, threads: int) -> None:
        """Hand the merged vector to a patch in the making, in sparse form."""
        sizes = zip(self.numel.tolist(), self.compute.tolist(), self._device.tolist(), strict=True)
        for index, (numel, compute, device) in enumerate(sizes):
            values = np.empty(min(numel, SEGMENT), _TYPES[compute])
            vector, keep = Room(values.nbytes, device), Room(keep_nbytes(len(values)), device)
            for begin in range(0, numel, SEGMENT):
                count = min(SEGMENT, numel - begin)
                self._vector(index, begin, count, vector, keep, threads)
                dense, bits = vector.on_cpu(), keep.on_cpu()[: keep_nbytes(count)]
                kept = native.gather(
                    count, values.itemsize, dense.ctypes.data, bits.ctypes.data, values.ctypes.data
                )
                patch.append(index, begin, bits, values[:kept])

    def contents(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A tensor's running values in C, one after the other, and its sign bits as bytes, on the CPU."""
        values = self._values[index].on_cpu().view(_TYPES[int(self.compute[index])])
        return values, self._signs[index].on_cpu()

    def restore(self, index: int, values: np.ndarray, signs: np.ndarray) -> None:
        """Give a tensor what :meth:`contents` once told; ``models`` is the caller's to set."""
        self._values[index].write(values)
        self._signs[index].write(signs)

    def same(self, index: int, other: int) -> bool:
        """Whether two tensors have equal sums and signs, so that equal bases have equal results."""
        rooms = (self._signs, self._values)
        return all(room[index].same_as(room[other]) for room in rooms)

    def _vector(self, index: int, begin: int, count: int, vector: Room, keep: Room, threads: int) -> None:
        """``count`` elements of a tensor's merged vector in C, from a block's boundary on, with keep bits."""
        compute, base_dtype = int(self.compute[index]), int(self._base_dtype[index])
        self._call(
            int(self._device[index]),
            threads,
            mode=MODES["vector"],
            scale=0.0,
            models=self.models,
            numel=[count],
            compute=[compute],
            base=[self._base[index] + begin * BITS[NAMES[base_dtype]] // 8],
            base_dtype=[base_dtype],
            finetuned=(),
            finetuned_dtype=(),
            out=[vector.address],
            out_dtype=[compute],
            keep=[keep.address],
            state=self._state([index], begin),
            begin=False,
        )

    def _state(self, tensors: np.ndarray | list[int], begin: int = 0) -> native.State:
        """Of some tensors (their numbers, or bool for each) from an element on, which begins a block."""
        values = self._values_at[tensors] + begin * self._value_bytes[tensors]
        if not self._method.signs:
            return native.State(values)
        positive = self._signs_at[tensors] + keep_nbytes(begin)
        return native.State(values, positive, positive + self._mask_bytes[tensors])

    def _merge(
        self,
        mode: int,
        scale: float,
        finetuned: np.ndarray,
        finetuned_dtype: np.ndarray,
        out: np.ndarray,
        out_dtype: np.ndarray,
        threads: int,
        stats: np.ndarray | None = None,
        workspaces: dict[int, Room] | None = None,
        thresholds: np.ndarray | None = None,
    ) -> None:
        adds = len(finetuned) > 0
        for device in np.unique(self._device).tolist():
            here = self._device == device
            rows = None if stats is None else stats[here]
            self._call(
                device,
                threads,
                mode=mode,
                scale=scale,
                models=self.models + adds,
                numel=self.numel[here],
                compute=self.compute[here],
                base=self._base[here],
                base_dtype=self._base_dtype[here],
                finetuned=finetuned[here] if adds else finetuned,
                finetuned_dtype=finetuned_dtype[here] if adds else finetuned_dtype,
                out=out[here],
                out_dtype=out_dtype[here],
                state=self._state(here),
                begin=adds and self.models == 0,
                end=not adds,
                stats=rows,
                thresholds=() if thresholds is None else thresholds[here],
                workspace=None if workspaces is None else workspaces.get(device),
            )
            if stats is not None:
                stats[here] = rows

    def _call(
        self,
        device: int,
        threads: int,
        *,
        stats: np.ndarray | None = None,
        workspace: Room | None = None,
        **columns: Any,
    ) -> None:
        if device == CPU:
            native.merge(method=self._method.code, stats=stats, threads=threads, **columns)
        else:
            merge_batch(device, method=self._method.code, stats=stats, workspace=workspace, **columns)
