"""Which device a plan is merged on."""

from __future__ import annotations

import numpy as np

from ..checkpoint.base import FileRows
from ..in_memory.device_memory import CPU, device_name
from ..in_memory.state_dict import MemoryRows
from ..plan import Plan


def device_of_files(plan: Plan[object], asked: int | None) -> int:
    """The device that merges what lies in files, and in main memory with them.

    It is the CPU unless another was asked for: what comes from a file passes the CPU's memory in any case,
    and the CPU merges it as fast as it can be read.
    """
    in_files = isinstance(plan.base, FileRows) and len(plan.finetuned) > 0
    return CPU if asked is None or not in_files else asked


def names_of_devices(plan: Plan[object], asked: int | None) -> str:
    """What the devices of a plan are called, for people: "cpu", "cuda:1", or several."""
    if not isinstance(plan.base, MemoryRows) or plan.base.on_cpu:
        return device_name(device_of_files(plan, asked))
    return ", ".join(map(device_name, np.unique(plan.base.device[list(plan.merged)]).tolist()))
