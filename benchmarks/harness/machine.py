"""What is measured, on which machine, and how busy it is; without names of users, hosts or folders."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from .processes import FailedError, run

_CPUS = Path("/proc/cpuinfo")
#: What that file calls the numbers of a processor's kind; only x86 has them.
_CPU_NUMBERS = {"cpu_family": "cpu family", "cpu_model": "model"}
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
#: For git: all but what benchmarks and report.py write.
_SOURCE = [":/", *(f":(top,exclude){path}" for path in ("benchmarks/results", "docs", "README.md"))]


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory and system, and the GPUs if there are any.

    x86 has numbers of the processor's family and model, too: virtual machines on many give it one name.
    """
    cpu = _first_cpu()
    gpus = [
        f"{gpu['name']}, {gpu['memory_bytes'] / 2**30:.0f} GiB" for gpu in _installation()["cuda"]["devices"]
    ]
    return {
        "cpu": _cpu_name(cpu),
        **{key: int(cpu[told]) for key, told in _CPU_NUMBERS.items() if told in cpu},
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "transparent_huge_pages": _huge_pages(),
        **({"gpus": gpus} if gpus else {}),
    }


def versions() -> dict[str, Any]:
    """Python, libraries and this package, with the instruction set it uses here."""
    info = _installation()
    return {
        **info["versions"],
        "instruction_sets": info["instruction_sets"]["available"],
        "instruction_set": info["instruction_sets"]["active"],
    }


def load() -> list[float]:
    """Load averages over 1, 5 and 15 minutes, this process included."""
    return [round(value, 2) for value in os.getloadavg()]


def niceness() -> int:
    """Niceness of this process, which those that it starts have too."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def commit() -> dict[str, Any] | None:
    """The commit of the tree that the package is imported from: ``hash``, and whether files are ``changed``.

    Files that are not tracked do not count, nor do results of benchmarks and pages that show them. None if
    git does not track the package: it is installed, or exported.
    """
    package = Path(_installation()["package"])

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", package.parent, *words]
        return run(command).stdout.decode().strip()

    try:
        git("ls-files", "--error-unmatch", package.name)
        revision = git("rev-parse", "--short", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCE)
    except (FailedError, OSError):
        return None
    return {"hash": revision, "changed": bool(changes)}


@cache
def _installation() -> dict[str, Any]:
    """``negmerge_ext.info()`` and the file ``package`` it comes from.

    They are asked in a process of its own: this one may have to stay small.
    """
    program = (
        "import json, negmerge_ext as package;"
        "print(json.dumps({**package.info(), 'package': package.__file__}))"
    )
    info: dict[str, Any] = json.loads(run([sys.executable, "-c", program]).stdout)
    return info


def _first_cpu() -> dict[str, str]:
    """What the system tells of the first processor, by name."""
    if not _CPUS.exists():
        return {}
    lines = _CPUS.read_text().partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _cpu_name(cpu: Mapping[str, str]) -> str:
    return cpu.get("model name", platform.machine())


def _huge_pages() -> str | None:
    if not _HUGE_PAGES.exists():
        return None
    return _HUGE_PAGES.read_text().partition("[")[2].partition("]")[0]
