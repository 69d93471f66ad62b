"""Each tensor is merged where it lies: base, models and output of one must be on one device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..compatibility import unfit_problems
from ..errors import DeviceError, NegmergeError, raise_problems
from ..plan import Plan
from ..source import Unfit
from .device_memory import CPU, device_name
from .state_dict import MemoryRows


def check_devices(
    plan: Plan[Any], labels_of: Callable[[], list[str]], asked: int | None, out: MemoryRows | None = None
) -> None:
    """Raise :class:`~negmerge_ext.errors.DeviceError` for tensors that are on a wrong device.

    A base in a file can be merged on any device, with models in files and in main memory. labels_of:
    tells how errors name the base and each model. asked: the device that the user asked for; ``None``: any.
    out: the output's tensors, if they were given.
    """
    inputs = (plan.base, *plan.finetuned)
    everything = inputs if out is None else (*inputs, out)
    elsewhere = [rows for rows in everything if isinstance(rows, MemoryRows) and not rows.on_cpu]
    if asked in (None, CPU) and not elsewhere:
        return
    labels = labels_of()
    merged = plan.tensors.merged
    base = _devices(plan.base, len(plan.tensors))
    problems: list[NegmergeError] = []
    if asked is not None and isinstance(plan.base, MemoryRows):
        wrong = merged[base[merged] != asked]
        faults = [
            f"is on {device_name(base[index])}, not on {device_name(asked)}" for index in wrong.tolist()
        ]
        remedy = (
            "Leave device (--device) out (tensors are merged where they lie, files on the CPU) or move it"
        )
        problems += _problems(plan, labels[0], wrong, faults, remedy)
    others = [(merged, rows, label) for rows, label in zip(plan.finetuned, labels[1:], strict=True)]
    if out is not None:
        others.append((np.arange(len(base)), out, "out"))
    for tensors, rows, label in others:
        found = _devices(rows, len(tensors))
        wrong = np.flatnonzero(found != base[tensors])
        faults = [
            f"is on {device_name(here)}, the base's on {device_name(there)}"
            for here, there in zip(found[wrong].tolist(), base[tensors[wrong]].tolist(), strict=True)
        ]
        remedy = "Give all models and out on one device; files are merged from main memory"
        problems += _problems(plan, label, tensors[wrong], faults, remedy)
    raise_problems(problems)


def _devices(rows: object, count: int) -> np.ndarray:
    return rows.device if isinstance(rows, MemoryRows) else np.full(count, CPU)


def _problems(
    plan: Plan[Any], label: str, tensors: np.ndarray, faults: list[str], remedy: str
) -> list[NegmergeError]:
    names = [plan.tensors.table.names[index] for index in tensors.tolist()]
    reasons = [Unfit(DeviceError, fault, remedy) for fault in faults]
    return unfit_problems(label, dict(zip(names, reasons, strict=True)))
