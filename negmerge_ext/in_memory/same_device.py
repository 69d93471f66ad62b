"""Each tensor is merged where it lies: base, models and output of one must be on one device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import DeviceError, NegmergeError, raise_problems, shortened
from ..plan import Plan
from .device_memory import CPU, device_name
from .state_dict import MemoryRows


def check_devices(
    plan: Plan[Any], labels: list[str], asked: int | None, out: MemoryRows | None = None
) -> None:
    """Raise :class:`~negmerge_ext.errors.DeviceError` for tensors that are on a wrong device.

    Files are merged on the CPU. labels: how errors name the base and each model. asked: the device that the
    user asked for; ``None``: any. out: the output's tensors, if they were given.
    """
    inputs = (plan.base, *plan.finetuned)
    everything = inputs if out is None else (*inputs, out)
    if asked in (None, CPU) and all(not isinstance(rows, MemoryRows) or rows.on_cpu for rows in everything):
        return
    problems: list[NegmergeError] = []
    merged = plan.tensors.merged
    base = _devices(plan.base, len(plan.tensors))
    if asked is not None:
        wrong = merged[base[merged] != asked]
        problems += shortened(_elsewhere(plan, wrong, base, asked, labels[0]), labels[0])
    for rows, label in zip(plan.finetuned, labels[1:], strict=True):
        found = np.full(len(base), CPU)
        found[merged] = _devices(rows, len(merged))
        wrong = merged[found[merged] != base[merged]]
        problems += shortened(_apart(plan, wrong, found, base, label), label)
    if out is not None:
        wrong = np.flatnonzero(out.device != base)
        problems += shortened(_apart(plan, wrong, out.device, base, "out"), "out")
    raise_problems(problems)


def _devices(rows: object, count: int) -> np.ndarray:
    return rows.device if isinstance(rows, MemoryRows) else np.full(count, CPU)


def _elsewhere(
    plan: Plan[Any], index: np.ndarray, found: np.ndarray, asked: int, label: str
) -> Iterator[NegmergeError]:
    for tensor in index.tolist():
        yield DeviceError(
            f"is on {device_name(found[tensor])}, and device {device_name(asked)!r} was asked for",
            path=label,
            tensor=plan.tensors[tensor].name,
            remedy="Move it there, or leave device (--device) out: tensors are merged where they lie",
        )


def _apart(
    plan: Plan[Any], index: np.ndarray, found: np.ndarray, base: np.ndarray, label: str
) -> Iterator[NegmergeError]:
    for tensor in index.tolist():
        yield DeviceError(
            f"is on {device_name(found[tensor])}, the base's on {device_name(base[tensor])}",
            path=label,
            tensor=plan.tensors[tensor].name,
            remedy="Give all models and out on one device (that of files is the CPU)",
        )
