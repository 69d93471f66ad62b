"""Execute a plan whose inputs and output all lie in memory: each tensor on its own device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..in_memory.device_memory import CPU
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..plan import Plan
from .cuda import DeviceMerge
from .memory import merge_in_memory
from .trimming import find_thresholds


def merge_where_it_lies(
    plan: Plan[MemoryRows], target: Target, *, threads: int, max_memory: int | None
) -> None:
    """Write every tensor of the plan to ``target``: merged, or copied from the base. Tied ones, once.

    threads, max_memory: of the CPU, as :func:`~negmerge_ext.engine.memory.merge_in_memory` takes them, and so
    are exceptions. CUDA devices have their work on torch's current streams when this returns, and may raise
    :class:`~negmerge_ext.errors.DeviceError` and :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    if plan.options.method.trim is not None:
        plan = replace(plan, thresholds=find_thresholds(plan, max_memory, threads or None))
    written = np.ones(len(plan.tensors), bool)
    if target.tied:
        written[list(target.tied)] = False
    if plan.base.on_cpu:
        merge_in_memory(plan, target, written, threads=threads, max_memory=max_memory)
        return
    devices = np.unique(plan.base.device).tolist()
    # Whatever may lack memory is asked before anything is written.
    merges = [
        DeviceMerge(plan, target, device, written & (plan.base.device == device))
        for device in devices
        if device != CPU
    ]
    if CPU in devices:
        chosen = written & (plan.base.device == CPU)
        merge_in_memory(plan, target, chosen, threads=threads, max_memory=max_memory)
    for merge in merges:
        merge.run()
