"""An unfinished merge in memory: per element the sum of task vectors so far, and two sign bits."""

from __future__ import annotations

import numpy as np

from .. import native
from ..dtypes import BITS, CODES, NAMES
from ..in_memory.state_dict import MemoryRows
from ..options import MODES
from ..patches.builder import PatchTarget
from ..patches.sections import SEGMENT
from ..plan import Plan
from ..stats import NATIVE_STATS

#: Elements whose sign bits are one word.
_PACK = 16

#: Compute types by native code.
_TYPES: dict[int, np.dtype] = {CODES["F64"]: np.dtype(np.float64), CODES["F32"]: np.dtype(np.float32)}


class RunningSum:
    """The sums of the merged tensors of ``plan``; its tensors are numbered as in ``plan.merged``.

    Takes 4 bytes (8 where C is fp64) and two bits per element, however many models are added. base: the rows
    of all tensors of the base; they must not change. numel: int64, elements of each; compute: int64, native
    codes of their compute types.
    """

    def __init__(self, plan: Plan[MemoryRows], base: MemoryRows) -> None:
        merged = plan.tensors.merged
        self.models = 0
        self.numel = plan.tensors.table.numel[merged]
        self.compute = plan.tensors.compute[merged]
        self._method = plan.options.method.code
        self._rows = base  # keeps the memory at these addresses
        self._base = base.address[merged]
        self._base_dtype = plan.tensors.table.dtype[merged]
        sizes = list(zip(self.numel.tolist(), self.compute.tolist(), strict=True))
        self._sum = [np.empty(numel, _TYPES[compute]) for numel, compute in sizes]
        self._signs = [np.empty((2, -(-numel // _PACK)), np.uint16) for numel, _ in sizes]
        positive = np.array([array.ctypes.data for array in self._signs], np.int64)
        self._state = native.State(
            sum=np.array([array.ctypes.data for array in self._sum], np.int64),
            positive=positive,
            negative=positive + 2 * -(-self.numel // _PACK),
        )

    def add(self, finetuned: np.ndarray, dtypes: np.ndarray, threads: int) -> None:
        """Add a model, given by the addresses and native dtype codes of its tensors.

        What a signal handler raises can come out of it, and the sums are unusable then.
        """
        nowhere = np.zeros_like(self.numel)
        self._merge(MODES["vector"], 0.0, finetuned, dtypes, nowhere, self.compute, threads)
        self.models += 1

    def finish(
        self, mode: str, scale: float, out: np.ndarray, out_dtype: np.ndarray, threads: int
    ) -> np.ndarray:
        """Write the result to the addresses ``out`` (0: nothing); gives the native statistics of each tensor.

        The sums stay as they are, for further models or another result.
        """
        none = np.empty(0, np.int64)
        return self._merge(MODES[mode], scale, none, none, out, out_dtype, threads)

    def vector_into(self, patch: PatchTarget, threads: int) -> None:
        """Hand the merged vector to a patch in the making, in sparse form."""
        keep = np.empty(2 * SEGMENT // _PACK, np.uint8)
        sizes = zip(self.numel.tolist(), self.compute.tolist(), strict=True)
        for index, (numel, compute) in enumerate(sizes):
            dense = np.empty(min(numel, SEGMENT), _TYPES[compute])
            values = np.empty_like(dense)
            for begin in range(0, numel, SEGMENT):
                count = min(SEGMENT, numel - begin)
                bits = keep[: 2 * -(-count // _PACK)]
                self._vector(index, begin, count, dense, bits, threads)
                kept = native.gather(
                    count, values.itemsize, dense.ctypes.data, bits.ctypes.data, values.ctypes.data
                )
                patch.append(index, begin, bits, values[:kept])

    def same(self, index: int, other: int) -> bool:
        """Whether two tensors have equal sums and signs, so that equal bases have equal results."""
        return np.array_equal(self._signs[index], self._signs[other]) and np.array_equal(
            self._sum[index].view(np.uint8), self._sum[other].view(np.uint8)
        )

    def _vector(
        self, index: int, begin: int, count: int, dense: np.ndarray, keep: np.ndarray, threads: int
    ) -> None:
        """``count`` elements of a tensor's merged vector in C, from a block's boundary on, with keep bits."""
        compute, base_dtype = int(self.compute[index]), int(self._base_dtype[index])
        native.merge(
            method=self._method,
            mode=MODES["vector"],
            scale=0.0,
            models=self.models,
            numel=[count],
            compute=[compute],
            base=[self._base[index] + begin * BITS[NAMES[base_dtype]] // 8],
            base_dtype=[base_dtype],
            finetuned=(),
            finetuned_dtype=(),
            out=[dense.ctypes.data],
            out_dtype=[compute],
            stats=np.zeros(1, NATIVE_STATS),
            keep=[keep.ctypes.data],
            state=native.State(
                sum=[self._state.sum[index] + begin * dense.itemsize],
                positive=[self._state.positive[index] + begin // _PACK * 2],
                negative=[self._state.negative[index] + begin // _PACK * 2],
            ),
            begin=False,
            threads=threads,
        )

    def _merge(
        self,
        mode: int,
        scale: float,
        finetuned: np.ndarray,
        finetuned_dtype: np.ndarray,
        out: np.ndarray,
        out_dtype: np.ndarray,
        threads: int,
    ) -> np.ndarray:
        rows = np.zeros(len(self.numel), NATIVE_STATS)
        adds = len(finetuned) > 0
        native.merge(
            method=self._method,
            mode=mode,
            scale=scale,
            models=self.models + adds,
            numel=self.numel,
            compute=self.compute,
            base=self._base,
            base_dtype=self._base_dtype,
            finetuned=finetuned,
            finetuned_dtype=finetuned_dtype,
            out=out,
            out_dtype=out_dtype,
            stats=rows,
            state=self._state,
            begin=adds and self.models == 0,
            end=not adds,
            threads=threads,
        )
        return rows
