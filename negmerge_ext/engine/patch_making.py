"""Making a patch out of core: the merged vector is cut down to what is kept as it leaves the merge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import dtypes, native
from ..checkpoint.provenance import InputIdentity
from ..patches.builder import MemoryBuilder, PatchTarget
from ..patches.description import Description, describe, keep_nbytes
from ..patches.fingerprint import memory
from ..patches.sections import SEGMENT, MemorySections
from ..patches.writer import new_patch_file
from ..plan import Plan
from ..progress import reporting
from ..stats import TensorStats, tensor_stats
from .chunks import Piece
from .pipeline import Settings, run
from .placing import Rows
from .sinks import Delivery, Wants


def make_in_memory(
    plan: Plan[Rows], inputs: Sequence[InputIdentity], settings: Settings
) -> tuple[Description, MemorySections]:
    """The merged vector of ``plan`` (mode "vector") in sparse form; inputs: the base, then the models.

    Raises :class:`~negmerge_ext.errors.MemoryBudgetError` and
    :class:`~negmerge_ext.errors.SourceChangedError`.
    """
    builder = MemoryBuilder([plan.tensors[index] for index in plan.merged])
    return _make(plan, inputs, settings, builder), builder.finish()


def make_file(
    plan: Plan[Rows], inputs: Sequence[InputIdentity], out: Path, settings: Settings, *, overwrite: bool
) -> None:
    """:func:`make_in_memory`, but into the file ``out``, which appears when it is complete.

    Raises what :func:`~negmerge_ext.patches.writer.new_patch_file` raises, too.
    """
    merged = [plan.tensors[index] for index in plan.merged]
    unknown = [TensorStats(tensor.name, tensor.numel, 0, 0.0, 0.0, 0) for tensor in merged]
    outline = describe(plan, inputs, unknown, [""] * len(merged))
    with new_patch_file(out, outline, overwrite=overwrite) as writer:
        writer.finish(_make(plan, inputs, settings, writer))


def _make(
    plan: Plan[Rows], inputs: Sequence[InputIdentity], settings: Settings, target: PatchTarget
) -> Description:
    plan = replace(plan, tensors=plan.tensors.written_in_compute())
    sink = PatchSink(plan, target)
    with reporting(settings.progress) as progress:
        result = run(plan, sink, settings, progress=progress)
    merged = [plan.tensors[index] for index in plan.merged]
    stats = tensor_stats((t.name for t in merged), (t.numel for t in merged), result.rows)
    return describe(plan, inputs, stats, sink.fingerprints)


class PatchSink:
    """Hands the kept values of a merged vector, and the keep bits, to a patch in the making.

    fingerprints: of the base's merged tensors that are complete, in order.
    """

    wants = Wants(output=True, keep_bits=True, base=True)

    def __init__(self, plan: Plan[Rows], target: PatchTarget) -> None:
        self.fingerprints: list[str] = []
        self._plan = plan
        self._target = target
        self._digest = hashlib.sha256()
        self._values = np.empty(SEGMENT, np.float64)

    def write(self, delivery: Delivery) -> None:
        """Take one chunk; all of its pieces are merged ones."""
        places = zip(delivery.addresses, delivery.keep, delivery.base, strict=True)
        for index, piece, (dense, keep, base) in zip(
            delivery.merged.tolist(), delivery.pieces, places, strict=True
        ):
            tensor = self._plan.tensors[piece.tensor]
            self._digest.update(memory(base, dtypes.nbytes(tensor.dtype, piece.numel)))
            self._append(index, piece, dense, keep)
            if piece.end == tensor.numel:
                self.fingerprints.append(self._digest.hexdigest())
                self._digest = hashlib.sha256()

    def _append(self, index: int, piece: Piece, dense: int, keep: int) -> None:
        compute = str(self._plan.tensors[piece.tensor].compute)
        values = self._values.view(dtypes.to_numpy(compute))
        for begin in range(0, piece.numel, SEGMENT):
            count = min(SEGMENT, piece.numel - begin)
            bits = np.frombuffer(memory(keep + keep_nbytes(begin), keep_nbytes(count)), np.uint8)
            vector = dense + dtypes.nbytes(compute, begin)
            kept = native.gather(count, values.itemsize, vector, bits.ctypes.data, values.ctypes.data)
            self._target.append(index, piece.begin + begin, bits, values[:kept])
