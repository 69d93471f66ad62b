"""Targets, what was measured, and whether that meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from . import bounds
from .bounds import Bound
from .cases import MISSING, Benchmarks, Case, number, table
from .gpu_tables import extra_megabytes, gpu_over_allowance, host_microseconds, over_copy
from .tables import (
    line_through,
    over_allowance,
    over_read_bound,
    tiny_microseconds,
    yardstick,
)

Values = Callable[[Benchmarks], Iterable[float]]


@dataclass(frozen=True)
class Target:
    """What is compared, the bound, and the values of all cases it holds for."""

    what: str
    bound: Bound
    values: Values

    def row(self, *machines: Benchmarks) -> list[str]:
        """A row of the table: a cell for each machine, and whether all that was measured meets the bound."""
        values = [sorted(self.values(benchmarks)) for benchmarks in machines]
        met = [self.bound.met(value) for each in values for value in each]
        verdict = MISSING if not met else "yes" if all(met) else "no"
        return [self.what, str(self.bound), *map(self._cell, values), verdict]

    def _cell(self, values: list[float]) -> str:
        """The least and the most of ascending values."""
        return (
            " … ".join(dict.fromkeys(self.bound.shown(value) for value in values[:1] + values[-1:]))
            or MISSING
        )


def _over_read(bound: Bound) -> Values:
    """Of the kernel's benchmark and, where that is of the dtype, of that of the order of reading."""
    return lambda benchmarks: [
        case.over_read()
        for name in ("kernel", "reading_order")
        for case in benchmarks[name].cases
        if over_read_bound(case) is bound
    ]


def _statistics(*dtypes: str) -> Values:
    return lambda benchmarks: [
        case.ratio("native call, statistics", "native call")
        for dtype in dtypes
        for case in benchmarks["kernel"].where(dtype=dtype)
    ]


def _new_results(pause: float) -> Values:
    return lambda benchmarks: [
        case.ratio("merge, new result", "touched")
        for case in benchmarks["new_results"].where(models=8, pause=pause)
    ]


def _kernel(over: str, under: str, **parameters: object) -> Values:
    """One variant of the merge in memory over another, of the cases that have both."""
    return lambda benchmarks: [
        case.ratio(over, under)
        for case in benchmarks["kernel"].where(**parameters)
        if case.has(over) and case.has(under)
    ]


def _torch(what: str, peer: str, ours: str = "merge") -> Target:
    return Target(what, bounds.TORCH[peer], _kernel(peer, ours, dtype="float32"))


def _out_of_core(storage: str) -> Values:
    return lambda benchmarks: [
        case.ratio_to_sum("merge", yardstick(case))
        for case in benchmarks["out_of_core"].where(storage=storage)
    ]


def _over_negmerge(name: str) -> Values:
    return lambda benchmarks: [
        case.ratio(name, "negmerge") for case in benchmarks["peers"].cases if case.has(name)
    ]


def _peer(what: str, name: str) -> Target:
    return Target(what, bounds.PEERS[name], _over_negmerge(name))


def _startup(name: str) -> Values:
    return lambda benchmarks: [case.median(name) for case in benchmarks["startup"].cases if case.has(name)]


def _growth(grows: str) -> Values:
    def distance(benchmarks: Benchmarks) -> list[float]:
        cases = benchmarks["growth"].where(grows=grows)
        return [line_through(cases, grows)[2]] if len(cases) > 2 else []

    return distance


def _small(benchmarks: Benchmarks) -> list[float]:
    return [over_allowance(case) for case in benchmarks["small_tensors"].cases if case.facts["reads"]]


def _patch(benchmarks: Benchmarks) -> list[float]:
    return [case.ratio("apply", "copy") for case in benchmarks["patch"].where(sparsity_percent=90)]


def _memory(benchmarks: Benchmarks) -> list[float]:
    return [
        (case.facts["peak_bytes"] - case.facts["idle_bytes"]) / case.facts["max_memory"]
        for case in benchmarks["memory"].cases
    ]


def _gpu_kernel(benchmarks: Benchmarks) -> list[float]:
    return [over_copy(case) for case in benchmarks["gpu_kernel"].cases]


def _gpu_peer(what: str, name: str) -> Target:
    def values(benchmarks: Benchmarks) -> list[float]:
        return [case.ratio(name, "merge") for case in benchmarks["gpu_kernel"].cases if case.has(name)]

    return Target(what, bounds.GPU_PEERS[name], values)


def _gpu_model(values: Callable[[Case], list[float]]) -> Values:
    return lambda benchmarks: [value for case in benchmarks["gpu_model"].cases for value in values(case)]


def _gpu_files(benchmarks: Benchmarks) -> list[float]:
    return [case.ratio("merge, cuda", "copy up") for case in benchmarks["gpu_files"].cases]


_READ = "in memory, merge over reading"
_GPU_HOST = "the same, host µs per tensor and model"
_GPU_UP = "between files in the page cache, over copying up what is read"
TARGETS = (
    Target(f"{_READ}: fp32, N ≤ 16", bounds.OVER_READ_FP32, _over_read(bounds.OVER_READ_FP32)),
    Target(
        f"{_READ}: fp32, N = 30 and 64", bounds.OVER_READ_FP32_MANY, _over_read(bounds.OVER_READ_FP32_MANY)
    ),
    Target(f"{_READ}: bf16 and fp16", bounds.OVER_READ_16_BIT, _over_read(bounds.OVER_READ_16_BIT)),
    Target("new result over touched memory, fp32, N = 8", bounds.NEW_RESULT, _new_results(pause=0.0)),
    Target("the same, three seconds after the last call", bounds.NEW_RESULT, _new_results(pause=3.0)),
    Target(
        "the same, among all variants of the kernel's benchmark",
        bounds.NEW_RESULT,
        _kernel("merge, new result", "merge", dtype="float32", models=8),
    ),
    Target("statistics in the same pass, over none: fp32", bounds.STATISTICS, _statistics("float32")),
    Target("the same: bf16 and fp16", bounds.STATISTICS, _statistics("bfloat16", "float16")),
    _torch("`torch.compile` over merge, fp32", "torch.compile"),
    _torch("the same, new results, fp32", "torch.compile, new result", "merge, new result"),
    _torch("`torch.stack` over merge, fp32", "torch.stack"),
    _torch("torch in place over merge, fp32", "torch in place"),
    Target("AVX2 over AVX-512, in speed", bounds.AVX2, _kernel("merge", "merge, avx2")),
    Target("ResNet-18 and CLIP ViT-B/32, N = 8, time over allowance", bounds.OVER_ALLOWED, _small),
    Target(
        "tensors of 16 elements, N = 8, µs per tensor and model",
        bounds.MICROSECONDS_PER_TENSOR_AND_MODEL,
        tiny_microseconds,
    ),
    Target("applying a patch with 90 % zeros again, over a copy", bounds.PATCH_OVER_COPY, _patch),
    Target("between files in tmpfs, over cat + cp", bounds.FILES["tmpfs"], _out_of_core("tmpfs")),
    Target("between cold files, over direct dd", bounds.FILES["cold"], _out_of_core("cold")),
    _peer("mergekit linear over negmerge", "mergekit linear"),
    _peer("mergekit with the same rule over negmerge", "mergekit, same rule"),
    Target("peak memory over max_memory", bounds.OVER_MAX_MEMORY, _memory),
    Target("time is linear in parameters: share off the line", bounds.OFF_THE_LINE, _growth("elements")),
    Target("time is linear in N: share off the line", bounds.OFF_THE_LINE, _growth("models")),
    Target("`negmerge merge --help`, seconds", bounds.HELP_SECONDS, _startup("negmerge merge --help")),
    Target("merge of small files, seconds", bounds.MERGE_SECONDS, _startup("negmerge merge")),
)
GPU_TARGETS = (
    Target("merge over device-to-device copy, in bandwidth", bounds.GPU_OVER_COPY, _gpu_kernel),
    _gpu_peer("`torch.compile` over merge", "torch.compile"),
    _gpu_peer("CUB DeviceTransform over merge", "CUB"),
    _gpu_peer("`torch.stack` over merge", "torch.stack"),
    Target("CLIP ViT-L/14, device time over allowance", bounds.OVER_ALLOWED, _gpu_model(gpu_over_allowance)),
    Target(_GPU_HOST, bounds.MICROSECONDS_PER_TENSOR_AND_MODEL, _gpu_model(host_microseconds)),
    Target(
        "the same, MB of memory besides the result",
        bounds.GPU_EXTRA_MEGABYTES,
        _gpu_model(extra_megabytes),
    ),
    Target(_GPU_UP, bounds.GPU_FILES, _gpu_files),
)


def summary(machines: Mapping[str, Benchmarks]) -> str:
    """All targets and, by machine, the least and the most that was measured."""
    rows = [target.row(*machines.values()) for target in TARGETS]
    return table(["what", "target", *machines, "met"], rows)


def gpu_summary(benchmarks: Benchmarks) -> str:
    """The same of what needs a GPU."""
    return table(["what", "target", "measured", "met"], [target.row(benchmarks) for target in GPU_TARGETS])


def speed(machines: Mapping[str, Benchmarks]) -> str:
    """The few lines for the README, a column for each machine."""
    peers = dict.fromkeys(
        name
        for benchmarks in machines.values()
        for case in benchmarks["peers"].cases
        for name in case.seconds
        if name != "negmerge"
    )
    ours: dict[str, object] = {"dtype": "float32", "models": 8}
    rows: dict[str, Callable[[Benchmarks], list[str]]] = {
        "in memory, fp32, N = 8, into a given result": lambda benchmarks: [
            f"{number(case.bandwidth('merge'))} GB/s" for case in benchmarks["kernel"].where(**ours)
        ],
        "over plain reading of the inputs": lambda benchmarks: [
            over_read_bound(case).shown(case.over_read()) for case in benchmarks["kernel"].where(**ours)
        ],
        **{
            f"{name} takes, times as long": _shown(_kernel(name, "merge", **ours))
            for name in ("torch.stack", "torch in place", "torch.compile")
        },
        "between files (tmpfs), over `cat` of the inputs + `cp` of the output": _shown(
            _out_of_core("tmpfs"), bounds.FILES["tmpfs"].shown
        ),
        **{f"{name}, whole process, takes, times as long": _shown(_over_negmerge(name)) for name in peers},
    }
    cells = {
        what: [" … ".join(values(benchmarks)) or MISSING for benchmarks in machines.values()]
        for what, values in rows.items()
    }
    measured = [[what, *row] for what, row in cells.items() if set(row) != {MISSING}]
    return table(["", *machines], measured)


def _shown(values: Values, show: Callable[[float], str] = number) -> Callable[[Benchmarks], list[str]]:
    return lambda benchmarks: list(map(show, values(benchmarks)))
