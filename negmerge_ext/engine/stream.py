"""Merging out of core: from checkpoint files, and from memory too, to files or into memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import dtypes
from ..checkpoint.finished import tidy
from ..checkpoint.journal import Position
from ..checkpoint.output import Output
from ..checkpoint.writer import Writer
from ..errors import raise_problems
from ..plan import Plan
from ..progress import Progress, in_two_passes, reporting
from ..source import Source
from ..stats import NATIVE_STATS, MergeReport, tensor_stats
from .file_device import names_of_devices
from .pipeline import Result, Settings, run
from .placing import Rows
from .preparing import prepare
from .sinks import FileSink, InMemory, Places, StatisticsOnly
from .trimming import trim
from .verifying import VerifyingSink
from .workers import Mergers

__all__ = ["Settings", "inspect", "merge_into_memory", "merge_to_path", "run"]


def merge_to_path(
    plan: Plan[Rows],
    base: Source[Rows],
    out: Path,
    settings: Settings,
    *,
    inputs: Sequence[str],
    overwrite: bool = False,
    verify: bool = False,
    resume: bool = False,
) -> MergeReport:
    """Execute ``plan`` and write its output to the file or folder ``out``, which appears when it is complete.

    base: what the plan's base was made from; its sharding, metadata and companion files are kept. inputs:
    paths or labels of base and fine-tuned models, whose last parts are recorded in the output. overwrite:
    replace what is there. verify: compute everything again and compare it with what is read back from the
    disk, before the output appears. resume: go on where an interrupted merge of the same inputs with the same
    options stopped, with any budget and number of threads; the bytes are those of an uninterrupted merge. If
    it was stopped when the output was in its place already, what else it left is removed.

    Raises all problems with the output together before anything is written:
    :class:`~negmerge_ext.errors.OutputExistsError`, :class:`~negmerge_ext.errors.OutputError`,
    :class:`~negmerge_ext.errors.DiskSpaceError`, :class:`~negmerge_ext.errors.MemoryBudgetError`,
    :class:`~negmerge_ext.errors.OptionError`, :class:`~negmerge_ext.errors.DeviceError`,
    :class:`~negmerge_ext.errors.DeviceMemoryError`. Later may come :class:`~negmerge_ext.errors.ResumeError`,
    :class:`~negmerge_ext.errors.SourceChangedError` and :class:`~negmerge_ext.errors.VerificationError`.
    """
    began = time.monotonic()
    with Mergers() as mergers:
        prepared = prepare(
            plan,
            base,
            out,
            settings,
            mergers,
            inputs=inputs,
            overwrite=overwrite,
            verify=verify,
            resume=resume,
        )
        raise_problems(prepared.problems)
        output, finished = prepared.output, prepared.finished
        if plan.options.method.trim is not None:
            mergers.close()  # finding thresholds may take all of max_memory
        if finished is not None:
            tidy(output)
            result = None
            if verify:
                with reporting(settings.progress) as progress:
                    trimmed = trim(plan, VerifyingSink.wants, settings, progress)
                    checked = _verify(trimmed.plan, output, output.paths, settings, mergers, trimmed.progress)
                    result = trimmed.counted(checked)
            rows = finished.rows if result is None else result.rows
            return _report(plan, rows, result, began, settings, output=output, resumed=True, verified=verify)

        with (
            Writer(
                output,
                digest=prepared.digest,
                merged=len(plan.merged),
                numel=[tensor.numel for tensor in plan.tensors],
            ) as writer,
            reporting(settings.progress) as progress,
        ):
            start = writer.begin(resume=resume)
            trimmed = trim(plan, FileSink.wants, settings, progress, passes=1 + verify)
            plan = trimmed.plan
            first, second = in_two_passes(trimmed.progress) if verify else (trimmed.progress, None)
            rows = np.zeros(len(plan.merged), NATIVE_STATS) if start is None else start.rows
            sink = FileSink(writer, _places(plan, output), rows)
            result = run(plan, sink, settings, start=start, progress=first, mergers=mergers)
            writer.finish(Position(len(plan.tensors), 0), result.rows)
            read = result.bytes_read
            if verify:
                read += _verify(plan, output, writer.paths, settings, mergers, second).bytes_read
            writer.publish()
    return _report(
        plan,
        result.rows,
        trimmed.counted(replace(result, bytes_read=read)),
        began,
        settings,
        output=output,
        bytes_written=writer.bytes_written,
        resumed=start is not None,
        verified=verify,
    )


def merge_into_memory(plan: Plan[Rows], addresses: np.ndarray, settings: Settings) -> MergeReport:
    """Execute ``plan`` and make every tensor, merged or copied, in memory.

    addresses: int64 ``[tensors]``, where each tensor goes, row-major in its output dtype; 0: it is left out.
    One may be the address of the base's or a model's own tensor if their dtypes are equal; no other overlap
    is allowed. Raises :class:`~negmerge_ext.errors.MemoryBudgetError` and
    :class:`~negmerge_ext.errors.SourceChangedError`.
    """
    began = time.monotonic()
    with reporting(settings.progress) as progress:
        sink = InMemory(addresses)
        trimmed = trim(plan, sink.wants, settings, progress)
        result = trimmed.counted(run(trimmed.plan, sink, settings, progress=trimmed.progress))
    return _report(plan, result.rows, result, began, settings)


def inspect(plan: Plan[Rows], settings: Settings) -> MergeReport:
    """Statistics and sign agreement of the merged tensors; nothing is written.

    Raises :class:`~negmerge_ext.errors.MemoryBudgetError` and
    :class:`~negmerge_ext.errors.SourceChangedError`.
    """
    began = time.monotonic()
    with reporting(settings.progress) as progress:
        sink = StatisticsOnly()
        trimmed = trim(plan, sink.wants, settings, progress)
        result = trimmed.counted(run(trimmed.plan, sink, settings, histogram=True, progress=trimmed.progress))
    return _report(plan, result.rows, result, began, settings)


def _verify(
    plan: Plan[Rows],
    output: Output,
    paths: Sequence[Path],
    settings: Settings,
    mergers: Mergers,
    progress: Progress | None,
) -> Result:
    sink = VerifyingSink(paths, output, _places(plan, output), plan)
    return run(plan, sink, settings, progress=progress, mergers=mergers)


def _places(plan: Plan[Rows], output: Output) -> Places:
    return Places(output, np.array([dtypes.BITS[tensor.out_dtype] for tensor in plan.tensors], np.int64))


def _report(
    plan: Plan[Rows],
    rows: np.ndarray,
    result: Result | None,
    began: float,
    settings: Settings,
    *,
    output: Output | None = None,
    bytes_written: int = 0,
    resumed: bool = False,
    verified: bool = False,
) -> MergeReport:
    tensors = [plan.tensors[index] for index in plan.merged]
    names, elements = [tensor.name for tensor in tensors], [tensor.numel for tensor in tensors]
    histogram = None if result is None else result.histogram
    return MergeReport(
        method=str(plan.options.method),
        scale=plan.options.scale,
        mode=plan.options.mode,
        models=plan.models,
        merged=tensor_stats(names, elements, rows, histogram),
        copied=tuple(tensor.name for tensor in plan.tensors if not tensor.merged),
        model_elements=sum(tensor.numel for tensor in plan.tensors),
        bytes_read=0 if result is None else result.bytes_read,
        bytes_written=bytes_written,
        seconds=time.monotonic() - began,
        device=names_of_devices(plan, settings.device),
        buffer_bytes=0 if result is None else result.buffer_bytes,
        device_bytes=0 if result is None else result.device_bytes,
        outputs=() if output is None else tuple(map(str, output.paths)),
        resumed=resumed,
        verified=verified,
    )
