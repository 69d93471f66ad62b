"""``negmerge merge --dry-run``: what a merge would do, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import text

if TYPE_CHECKING:
    from negmerge_ext.engine.dry_run import DryRun


def describe(plan: DryRun) -> str:
    """The plan for people."""
    free = "unknown" if plan.disk_free is None else text.size(plan.disk_free)
    models = text.count(plan.models, "model")
    verifying = ", verification included" if plan.verify else ""
    device = "" if plan.device == "cpu" else f"{plan.device}, {text.size(plan.device_bytes)} of its memory"
    scope = ""
    if plan.complete:
        scope = "; it is complete already"
    elif plan.resume:
        scope = "; an interrupted one has less left to do"
    return "\n".join(
        [
            f"{plan.method}, {plan.mode}, scale {plan.scale:g}, {models}{scope}",
            f"tensors   {plan.merged:,} to merge, {plan.copied:,} to copy from the base",
            f"read      {text.size(plan.bytes_read)} in {text.count(plan.chunks, 'chunk')}{verifying}",
            f"write     {text.size(plan.bytes_written)}",
            *([f"device    {device}"] if device else []),
            f"memory    {text.size(plan.memory_bytes)}, of which buffers {text.size(plan.buffer_bytes)}",
            f"disk      {text.size(plan.disk_needed)} needed, {free} free",
            *(f"output    {path} ({text.size(nbytes)})" for path, nbytes in plan.outputs),
        ]
    )
