"""Making a patch out of core: the merged vector is cut down to what is kept as it leaves the merge."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
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
from .trimming import trim


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
    threads = settings.threads or native.default_threads()
    with (
        ThreadPoolExecutor(threads, thread_name_prefix="negmerge-fingerprint") as pool,
        reporting(settings.progress) as progress,
    ):
        sink = PatchSink(plan, target, pool)
        trimmed = trim(plan, sink.wants, settings, progress)
        result = run(trimmed.plan, sink, settings, progress=trimmed.progress)
    merged = [plan.tensors[index] for index in plan.merged]
    stats = tensor_stats((t.name for t in merged), (t.numel for t in merged), result.rows)
    return describe(plan, inputs, stats, sink.fingerprints)


class PatchSink:
    """Hands the kept values of a merged vector, and the keep bits, to a patch in the making.

    pool: for fingerprints of several tensors at a time.
    """

    wants = Wants(output=True, keep_bits=True, base=True)

    def __init__(self, plan: Plan[Rows], target: PatchTarget, pool: ThreadPoolExecutor) -> None:
        self._plan = plan
        self._target = target
        self._pool = pool
        self._digests = [hashlib.sha256() for _ in plan.merged]
        self._values = np.empty(SEGMENT, np.float64)

    @property
    def fingerprints(self) -> list[str]:
        """Of the base's merged tensors, in order, as far as they were written."""
        return [digest.hexdigest() for digest in self._digests]

    def write(self, delivery: Delivery) -> None:
        """Take one chunk; all of its pieces are merged ones, each of another tensor."""
        merged = delivery.merged.tolist()
        digested = [
            self._pool.submit(self._digest, index, piece, base)
            for index, piece, base in zip(merged, delivery.pieces, delivery.base, strict=True)
        ]
        places = zip(delivery.addresses, delivery.keep, strict=True)
        try:
            for index, piece, (dense, keep) in zip(merged, delivery.pieces, places, strict=True):
                self._append(index, piece, dense, keep)
        finally:
            wait(digested)  # they read memory that is the next chunk's
        for future in digested:
            future.result()

    def _digest(self, index: int, piece: Piece, base: int) -> None:
        nbytes = dtypes.nbytes(self._plan.tensors[piece.tensor].dtype, piece.numel)
        self._digests[index].update(memory(base, nbytes))

    def _append(self, index: int, piece: Piece, dense: int, keep: int) -> None:
        compute = str(self._plan.tensors[piece.tensor].compute)
        values = self._values.view(dtypes.to_numpy(compute))
        for begin in range(0, piece.numel, SEGMENT):
            count = min(SEGMENT, piece.numel - begin)
            bits = np.frombuffer(memory(keep + keep_nbytes(begin), keep_nbytes(count)), np.uint8)
            vector = dense + dtypes.nbytes(compute, begin)
            kept = native.gather(count, values.itemsize, vector, bits.ctypes.data, values.ctypes.data)
            self._target.append(index, piece.begin + begin, bits, values[:kept])
