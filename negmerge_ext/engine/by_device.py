"""Execute a plan whose inputs and output all lie in memory: each tensor on its own device."""

from __future__ import annotations

import numpy as np

from ..in_memory.device_memory import CPU
from ..in_memory.state_dict import MemoryRows
from ..in_memory.targets import Target
from ..plan import Plan
from .cuda import merge_on_device
from .memory import merge_in_memory


def merge_where_it_lies(
    plan: Plan[MemoryRows], target: Target, *, threads: int, max_memory: int | None
) -> None:
    """Write every tensor of the plan to ``target``: merged, or copied from the base. Tied ones, once.

    threads, max_memory: of the CPU, as :func:`~negmerge_ext.engine.memory.merge_in_memory` takes them, and so
    are exceptions. CUDA devices have their work on torch's current streams when this returns, and may raise
    :class:`~negmerge_ext.errors.DeviceError` and :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    written = np.ones(len(plan.tensors), bool)
    if target.tied:
        written[list(target.tied)] = False
    if plan.base.on_cpu:
        merge_in_memory(plan, target, written, threads=threads, max_memory=max_memory)
        return
    for device in np.unique(plan.base.device).tolist():
        chosen = written & (plan.base.device == device)
        if device == CPU:  # the first: only this may find something wrong before anything is written
            merge_in_memory(plan, target, chosen, threads=threads, max_memory=max_memory)
        else:
            merge_on_device(plan, target, device, chosen)
