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

#: What to do about a tensor that is elsewhere than the base's.
_TOGETHER = "Give all models and out on one device; files are merged from main memory"


def check_devices(plan: Plan[Any], labels_of: Callable[[], list[str]], asked: int | None) -> None:
    """Raise :class:`~negmerge_ext.errors.DeviceError` for inputs that are on a wrong device.

    A base in a file can be merged on any device, with models in files and in main memory. labels_of:
    tells how errors name the base and each model. asked: the device that the user asked for; ``None``: any.
    """
    inputs = (plan.base, *plan.finetuned)
    elsewhere = [rows for rows in inputs if isinstance(rows, MemoryRows) and not rows.on_cpu]
    if asked in (None, CPU) and not elsewhere:
        return
    labels = labels_of()
    merged = plan.tensors.merged
    base = _devices(plan.base, len(plan.tensors))[merged]
    problems: list[NegmergeError] = []
    if asked is not None and isinstance(plan.base, MemoryRows):
        wrong = np.flatnonzero(base != asked)
        faults = [
            f"is on {device_name(number)}, not on {device_name(asked)}" for number in base[wrong].tolist()
        ]
        remedy = (
            "Leave device (--device) out (tensors are merged where they lie, files on the CPU) or move it"
        )
        problems += _problems(plan, labels[0], merged[wrong], faults, remedy)
    for rows, label in zip(plan.finetuned, labels[1:], strict=True):
        problems += _elsewhere(plan, rows, label, merged, base)
    raise_problems(problems)


def check_output_devices(plan: Plan[Any], out: MemoryRows) -> None:
    """Raise :class:`~negmerge_ext.errors.DeviceError` for tensors of a given output on a wrong device."""
    everything = np.arange(len(plan.tensors))
    raise_problems(_elsewhere(plan, out, "out", everything, _devices(plan.base, len(everything))))


def _elsewhere(
    plan: Plan[Any], rows: object, label: str, tensors: np.ndarray, base: np.ndarray
) -> list[NegmergeError]:
    """Problems of ``rows``, which are of these ``tensors`` of the plan: where they are not on ``base``."""
    found = _devices(rows, len(tensors))
    if np.array_equal(found, base):
        return []
    wrong = np.flatnonzero(found != base)
    faults = [
        f"is on {device_name(here)}, the base's on {device_name(there)}"
        for here, there in zip(found[wrong].tolist(), base[wrong].tolist(), strict=True)
    ]
    return _problems(plan, label, tensors[wrong], faults, _TOGETHER)


def _devices(rows: object, count: int) -> np.ndarray:
    return rows.device if isinstance(rows, MemoryRows) else np.full(count, CPU)


def _problems(
    plan: Plan[Any], label: str, tensors: np.ndarray, faults: list[str], remedy: str
) -> list[NegmergeError]:
    names = [plan.tensors.table.names[index] for index in tensors.tolist()]
    reasons = [Unfit(DeviceError, fault, remedy) for fault in faults]
    return unfit_problems(label, dict(zip(names, reasons, strict=True)))
