"""``negmerge merge --dry-run``: everything that is checked before a merge, and what it would do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import text

if TYPE_CHECKING:
    from negmerge_ext.engine.dry_run import DryRun
    from negmerge_ext.plan import Options


def plan_merge(
    base: Path,
    finetuned: Sequence[Path],
    out: Path,
    options: Options,
    *,
    max_memory: str | None,
    threads: int | None,
    device: str | None,
    overwrite: bool,
) -> DryRun:
    """Check the checkpoints by their metadata and plan their merge; raises what the merge would raise."""
    from negmerge_ext.checkpoint import open_checkpoint
    from negmerge_ext.engine.dry_run import dry_run
    from negmerge_ext.inputs import check_device, parse_settings
    from negmerge_ext.plan import make_plan

    check_device(device)
    settings = parse_settings(max_memory, threads, progress=False)
    source = open_checkpoint(base)
    plan = make_plan(source, map(open_checkpoint, finetuned), options)
    inputs = [str(path) for path in (base, *finetuned)]
    return dry_run(plan, source, out, settings, inputs=inputs, overwrite=overwrite)


def describe(plan: DryRun) -> str:
    """The plan for people."""
    free = "unknown" if plan.disk_free is None else text.size(plan.disk_free)
    models = text.count(plan.models, "model")
    if plan.models_at_a_time < plan.models:
        models += f", {plan.models_at_a_time:,} at a time"
    return "\n".join(
        [
            f"{plan.method}, {plan.mode}, scale {plan.scale:g}, {models}",
            f"tensors   {plan.merged:,} to merge, {plan.copied:,} to copy from the base",
            f"read      {text.size(plan.bytes_read)} in {text.count(plan.chunks, 'chunk')}",
            f"write     {text.size(plan.bytes_written)}",
            f"memory    {text.size(plan.memory_bytes)}, of which buffers {text.size(plan.buffer_bytes)}",
            f"disk      {text.size(plan.disk_needed)} needed, {free} free",
            *(f"output    {path} ({text.size(nbytes)})" for path, nbytes in plan.outputs),
        ]
    )
