"""Applying a patch out of core: a base on disk becomes a merged checkpoint on disk, in bounded memory."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import dtypes, native
from ..checkpoint import Checkpoint, open_checkpoint
from ..checkpoint.base import FileRows
from ..checkpoint.journal import Position
from ..checkpoint.output import plan_output
from ..checkpoint.preflight import output_problems
from ..checkpoint.provenance import DIGEST, PREFIX, input_identities, provenance
from ..checkpoint.writer import Writer
from ..errors import PatchMismatchError, raise_problems
from ..options import MODES, Options
from ..patches.description import Description
from ..patches.fingerprint import memory
from ..patches.sections import SEGMENT, Sections, count_kept
from ..plan import COPIED, Plan, PlannedTensors
from ..progress import reporting
from ..stats import NATIVE_STATS, MergeReport
from ..table import TensorTable
from .pipeline import Settings, run
from .placing import PlacedChunk
from .preparing import budget_problems
from .sinks import FileSink, Places
from .workers import Mergers


def apply_to_path(
    description: Description,
    sections: Sections,
    base: Path,
    out: Path,
    options: Options,
    settings: Settings,
    *,
    overwrite: bool,
) -> MergeReport:
    """Write what a merge into ``out`` would, from the base and a patch.

    Only scale, mode and out_dtype of ``options`` count. Raises what
    :func:`~negmerge_ext.engine.stream.merge_to_path` raises about output and budget, and
    :class:`~negmerge_ext.errors.PatchMismatchError`, with nothing left of the output, if a tensor of the base
    is not the one that the patch was made for.
    """
    began = time.monotonic()
    source = open_checkpoint(base)
    plan = _plan(description, source, options)
    identity, *_ = input_identities(plan, [str(base)])
    recorded = provenance(plan, [identity, *description.finetuned])
    recorded |= {f"{PREFIX}method": description.method, f"{PREFIX}models": str(description.models)}
    del recorded[DIGEST]  # of a merge's options and inputs; they are not known here
    output = plan_output(source, plan.tensors, out, recorded)
    with Mergers() as none_needed:  # the plan has no models
        over_budget = budget_problems(plan, settings, none_needed)
    raise_problems([*output_problems(output, overwrite=overwrite), *over_budget])
    places = Places(output, np.array([dtypes.BITS[tensor.out_dtype] for tensor in plan.tensors], np.int64))
    nothing_yet = np.zeros(len(plan.merged), NATIVE_STATS)
    threads = settings.threads or native.default_threads()
    with (
        Writer(output) as writer,
        ThreadPoolExecutor(threads, thread_name_prefix="negmerge-patch") as pool,
        reporting(settings.progress) as progress,
    ):
        writer.begin()
        result = run(
            plan,
            FileSink(writer, places, nothing_yet),
            settings,
            progress=progress,
            kernel=_PatchKernel(plan, description, sections, source.label, pool),
        )
        writer.finish(Position(len(plan.tensors), 0), result.rows)
        writer.publish()
    return MergeReport(
        method=description.method,
        scale=options.scale,
        mode=options.mode,
        models=description.models,
        merged=tuple(tensor.stats for tensor in description.tensors),
        copied=tuple(tensor.name for tensor in plan.tensors if not tensor.merged),
        model_elements=description.model_elements,
        bytes_read=result.bytes_read,
        bytes_written=writer.bytes_written,
        seconds=time.monotonic() - began,
        buffer_bytes=result.buffer_bytes,
        outputs=tuple(map(str, output.paths)),
    )


def _plan(description: Description, source: Checkpoint, options: Options) -> Plan[FileRows]:
    """A plan without models, whose merged tensors are those of the patch, in the order of ``source``."""
    raise_problems(list(description.mismatches(source.tensors, source.label)))
    compute = {tensor.name: tensor.compute for tensor in description.tensors}
    table = TensorTable.of(source.tensors)
    codes = [dtypes.CODES[compute[name]] if name in compute else COPIED for name in table.names]
    tensors = PlannedTensors(table, table.dtype, np.array(codes, np.int64)).written_in(options.out_dtype)
    return Plan(
        options=options,
        tensors=tensors,
        merged=tuple(tensors.merged.tolist()),
        base=source.rows(list(source.tensors)),
        finetuned=(),
        finetuned_dtypes=np.empty((0, len(compute)), np.uint8),
    )


@dataclass
class _Progress:
    """How far a tensor is: the digest of its base up to there, and the values used."""

    digest: Any = field(default_factory=hashlib.sha256)
    used: int = 0


class _PatchKernel:
    """Moves the pieces of a chunk along the merged vector, several at a time, and checks their base."""

    def __init__(
        self,
        plan: Plan[FileRows],
        description: Description,
        sections: Sections,
        base: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        number = {tensor.name: index for index, tensor in enumerate(description.tensors)}
        self._patched = [number[plan.tensors[index].name] for index in plan.merged]
        self._plan = plan
        self._description = description
        self._sections = sections
        self._base = base
        self._pool = pool
        self._progress = [_Progress() for _ in plan.merged]

    def __call__(self, chunk: PlacedChunk) -> None:
        # A tensor is at most once in a chunk, so no two threads have the same one.
        pieces = range(len(chunk.merged.numel))
        for _ in self._pool.map(lambda piece: self._patch(chunk, piece), pieces):
            pass

    def _patch(self, chunk: PlacedChunk, piece: int) -> None:
        merged = int(chunk.rows[piece])
        index, progress = self._patched[merged], self._progress[merged]
        planned = self._plan.tensors[self._plan.merged[merged]]
        tensor = self._description.tensors[index]
        base, out = int(chunk.inputs.base[piece]), int(chunk.merged_out[piece])
        start, numel = int(chunk.merged.begin[piece]), int(chunk.merged.numel[piece])
        # The output may take the place of the base.
        progress.digest.update(memory(base, dtypes.nbytes(tensor.dtype, numel)))
        if start + numel == tensor.numel and progress.digest.hexdigest() != tensor.fingerprint:
            raise PatchMismatchError(
                "differs from the base that the patch was made from",
                path=self._base,
                tensor=tensor.name,
                remedy="Give the base that the patch was made from",
            )
        for begin in range(start, start + numel, SEGMENT):
            end = min(begin + SEGMENT, start + numel)
            keep = self._sections.keep(index, begin, end)
            kept = count_kept(tensor, begin, end, progress.used, keep)
            values = self._sections.values(index, progress.used, progress.used + kept)
            progress.used += kept
            native.apply_patch(
                mode=MODES[self._plan.options.mode],
                scale=self._plan.options.scale,
                numel=end - begin,
                compute=dtypes.CODES[tensor.compute],
                base=base + dtypes.nbytes(tensor.dtype, begin - start),
                base_dtype=dtypes.CODES[tensor.dtype],
                out=out + dtypes.nbytes(planned.out_dtype, begin - start),
                out_dtype=dtypes.CODES[planned.out_dtype],
                keep=keep.ctypes.data,
                values=values.ctypes.data,
                threads=1,
            )
