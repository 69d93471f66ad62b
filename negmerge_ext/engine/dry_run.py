"""What a merge to files would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoint.journal import Position
from ..checkpoint.preflight import available_bytes
from ..errors import MemoryBudgetError, NegmergeError
from ..plan import Plan
from ..source import Source
from .budget import fit
from .chunks import cut
from .file_device import names_of_devices
from .needs import find_needs
from .pipeline import Settings
from .placing import Rows
from .preparing import prepare
from .sinks import FileSink
from .trimming import fit_trimming
from .workers import Mergers


@dataclass(frozen=True, slots=True)
class DryRun:
    """The plan of a merge to files.

    merged, copied: numbers of tensors. models: N. bytes_read,
    bytes_written: of inputs (thresholds that have to be found first included) and of all output files
    (companion files included). chunks: pieces of work.
    Verifying reads and computes everything a second time. Of a merge to be resumed, the whole of it counts,
    or, if its output is complete, what is left to do: the verification if that is asked for.
    device: "cpu", "cuda:0" or several. memory_bytes: all main memory that the merge takes, buffer_bytes the
    part of its buffers; device_bytes: what merging files on a device takes of its memory; 0 if max_memory is
    too small. disk_needed, disk_free: bytes, on the output's file system (``None``: it does not say).
    outputs: path and size of every weights file. verify, resume: whether that is asked for. complete: whether
    there is nothing to resume. problems: what would stop the merge.
    """

    method: str
    scale: float
    mode: str
    models: int
    merged: int
    copied: int
    bytes_read: int
    bytes_written: int
    chunks: int
    device: str
    memory_bytes: int
    buffer_bytes: int
    device_bytes: int
    disk_needed: int
    disk_free: int | None
    outputs: tuple[tuple[str, int], ...]
    verify: bool
    resume: bool
    complete: bool
    problems: tuple[NegmergeError, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        outputs = [{"path": path, "bytes": size} for path, size in self.outputs]
        return asdict(self) | {"outputs": outputs, "problems": [str(problem) for problem in self.problems]}


def dry_run(
    plan: Plan[Rows],
    base: Source[Rows],
    out: Path,
    settings: Settings,
    *,
    inputs: Sequence[str],
    overwrite: bool = False,
    verify: bool = False,
    resume: bool = False,
) -> DryRun:
    """What :func:`~negmerge_ext.engine.stream.merge_to_path` would do; nothing is written.

    Raises what :func:`~negmerge_ext.engine.preparing.prepare` raises; all other problems are listed.
    """
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
    output, complete = prepared.output, prepared.finished is not None
    needs = find_needs(plan, FileSink.wants)
    shape = trimming = None
    with suppress(MemoryBudgetError):  # it is among the problems
        shape = fit(plan, needs, settings.max_memory, threads=settings.threads, device=settings.device)
        trimming = fit_trimming(plan, settings.max_memory, settings.threads)
    parts = [part for part in (shape, trimming) if part is not None]
    passes = (not complete) + verify
    nbytes = 0 if complete else output.nbytes
    wanted = np.flatnonzero(needs.wanted).tolist()
    return DryRun(
        method=str(plan.options.method),
        scale=plan.options.scale,
        mode=plan.options.mode,
        models=plan.models,
        merged=len(plan.merged),
        copied=len(plan.tensors) - len(plan.merged),
        bytes_read=passes * int(needs.read_bytes.sum()) + (trimming.bytes_read if trimming and passes else 0),
        bytes_written=nbytes,
        chunks=passes * sum(1 for _ in cut(plan.tensors, wanted, shape.capacity, Position())) if shape else 0,
        device=names_of_devices(plan, settings.device),
        memory_bytes=max(one.memory_bytes for one in parts) if shape else 0,
        buffer_bytes=max(one.buffer_bytes for one in parts) if shape else 0,
        device_bytes=shape.workers.device_bytes if shape else 0,
        disk_needed=nbytes,
        disk_free=available_bytes(output) if output.path.parent.is_dir() else None,
        outputs=tuple(
            (str(path), file.layout.size) for path, file in zip(output.paths, output.files, strict=True)
        ),
        verify=verify,
        resume=resume,
        complete=complete,
        problems=prepared.problems,
    )
