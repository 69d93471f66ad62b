"""The tables of what was measured on a GPU, one function each."""

from __future__ import annotations

from collections.abc import Callable

from . import bounds
from .cases import MISSING, Benchmark, Benchmarks, Case, number, table

#: Seconds that starting a call may take on the device.
STARTING = 30e-6
_CALLS = ("merge", "merge, new result")


def over_copy(case: Case) -> float:
    """Bandwidth of the merge over that of a device-to-device copy, in the same rounds."""
    copied: int = case.facts["copy_bytes"]
    return case.ratio("copy", "merge") * _moved(case) / copied


def allowance(case: Case) -> float:
    """Seconds that a call may take on the device."""
    seconds_per_byte = case.median("copy") / case.facts["copy_bytes"]
    return float(bounds.OVER_BYTES * _moved(case) * seconds_per_byte + STARTING)


def gpu_over_allowance(case: Case) -> list[float]:
    """Device time over what is allowed, of a merge into a given result and into a new one."""
    return [case.median(call) / allowance(case) for call in _CALLS]


def host_microseconds(case: Case) -> list[float]:
    """Host time of the same calls in microseconds per tensor and model."""
    works = case.facts["tensors"] * case.parameters["models"]
    return [case.median(f"{call}, host") * 1e6 / works for call in _CALLS]


def extra_megabytes(case: Case) -> list[float]:
    """Device memory of the same calls besides the result."""
    return [case.facts["extra_bytes"][call] / 1e6 for call in _CALLS]


def gpu_kernel(benchmarks: Benchmarks) -> str:
    """Bandwidth of the merge beside that of copying, and how much longer others take."""
    cases = _sorted(benchmarks["gpu_kernel"])
    rows = [
        [
            case.parameters["dtype"],
            str(case.parameters["models"]),
            number(case.facts["copy_bytes"] / case.median("copy") / 1e9),
            number(case.bandwidth("merge")),
            bounds.GPU_OVER_COPY.shown(over_copy(case)),
            *(
                bound.shown(case.ratio(peer, "merge"), digits=2) if case.has(peer) else MISSING
                for peer, bound in bounds.GPU_PEERS.items()
            ),
            case.spread("merge", 1e3),
            str(case.rounds),
        ]
        for case in cases
    ]
    head = [
        "dtype",
        "N",
        "copy GB/s",
        "merge GB/s",
        "merge over copy",
        *bounds.GPU_PEERS,
        "merge ms (quartiles)",
    ]
    without: dict[str, list[str]] = {}
    for case in cases:
        for peer, reason in case.facts["without"].items():
            which = f"{case.parameters['dtype']}, N = {case.parameters['models']}"
            without.setdefault(f"{peer}: {reason}", []).append(which)
    told = [f"Without {reason} ({'; '.join(which)})." for reason, which in without.items()]
    return "\n\n".join([table([*head, "rounds"], rows), *told])


def gpu_model(benchmarks: Benchmarks) -> str:
    """Whole calls for one model."""
    rows = [
        [
            case.parameters["dtype"],
            str(case.parameters["models"]),
            number(_moved(case) / 1e9),
            number(allowance(case) * 1e3),
            *(case.spread(call, 1e3) for call in _CALLS),
            bounds.OVER_ALLOWED.shown(max(gpu_over_allowance(case))),
            *(case.spread(f"{call}, host", 1e3) for call in _CALLS),
            bounds.MICROSECONDS_PER_TENSOR_AND_MODEL.shown(max(host_microseconds(case))),
            bounds.GPU_EXTRA_MEGABYTES.shown(max(extra_megabytes(case))),
        ]
        for case in _sorted(benchmarks["gpu_model"])
    ]
    head = ["dtype", "N", "moved GB", "allowed ms", "merge ms", "new result ms", "over allowed"]
    return table([*head, "host ms", "new result, host ms", "µs per tensor and model", "extra MB"], rows)


def gpu_files(benchmarks: Benchmarks) -> str:
    """Merging between files on a GPU."""
    rows = [
        [
            case.facts["filesystem"],
            number(case.facts["read_bytes"] / 1e9),
            case.spread("copy up"),
            case.spread("merge, cuda"),
            case.spread("merge to memory, cuda"),
            case.spread("merge, cpu"),
            bounds.GPU_FILES.shown(case.ratio("merge, cuda", "copy up")),
            f"{case.ratio('merge, cuda', 'merge, cpu'):.2f}",
            str(case.rounds),
        ]
        for case in benchmarks["gpu_files"].cases
    ]
    head = ["file system", "read GB", "copy up s", "merge s", "merge to memory s", "merge on the CPU s"]
    return table([*head, "merge over copy up", "merge over that on the CPU", "rounds"], rows)


def _moved(case: Case) -> int:
    """Bytes that must move: base, models and result."""
    return int((case.parameters["models"] + 2) * case.facts["model_bytes"])


def _sorted(benchmark: Benchmark) -> list[Case]:
    """fp32 first, then by N."""
    return sorted(
        benchmark.cases,
        key=lambda case: (case.parameters["dtype"] != "float32", case.parameters["models"]),
    )


GPU_TABLES: dict[str, Callable[[Benchmarks], str]] = {
    each.__name__: each for each in (gpu_kernel, gpu_model, gpu_files)
}
