"""When a stage of a run was written, and by what machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Machine:
    """cpu: the model's name. cores: logical ones that the process may use. threads: torch's on the CPU.

    gpus: names of the CUDA devices that there are, if the process used one.
    """

    cpu: str
    cores: int
    threads: int
    gpus: tuple[str, ...]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Machine:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**plain, "gpus": tuple(plain["gpus"])})


@dataclass(frozen=True, slots=True)
class Origin:
    """Of several stages. first, last: when they were written, ISO 8601 in UTC. machines: each one once."""

    first: str
    last: str
    machines: tuple[Machine, ...]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Origin:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**plain, "machines": tuple(map(Machine.from_dict, plain["machines"]))})


def stamp() -> dict[str, Any]:
    """Of a stage that is written now, as plain data."""
    cuda: Any = torch.cuda  # part of it has no types
    used = cuda.is_initialized()  # to ask for more would begin to use the devices
    gpus = [cuda.get_device_name(number) for number in range(cuda.device_count())] if used else []
    machine = Machine(_cpu(), _cores(), torch.get_num_threads(), tuple(gpus))
    return {"at": datetime.now(timezone.utc).isoformat(timespec="seconds"), **asdict(machine)}


def origin_of(stamps: Iterable[dict[str, Any] | None]) -> Origin | None:
    """Of stages with these stamps; those without one, of earlier versions, do not count."""
    known = sorted((one for one in stamps if one is not None), key=lambda one: str(one["at"]))
    if not known:
        return None
    machines = [Machine.from_dict({key: value for key, value in one.items() if key != "at"}) for one in known]
    return Origin(known[0]["at"], known[-1]["at"], tuple(dict.fromkeys(machines)))


@cache
def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    # Not everywhere; it knows what a container or taskset leaves of the machine.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
