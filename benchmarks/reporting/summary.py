"""Targets, what was measured, and whether that meets them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .cases import Case, number, table
from .gpu_tables import extra_megabytes, gpu_over_allowance, host_microseconds, over_copy
from .tables import Benchmarks, line_through, over_allowance, yardstick

Values = Callable[[Benchmarks], Iterable[float]]


@dataclass(frozen=True)
class Target:
    """What is compared, the bound, and the values of all cases it holds for; ``at_least``: else at most."""

    what: str
    bound: float
    at_least: bool
    values: Values
    digits: int = 2

    def row(self, benchmarks: Benchmarks) -> list[str]:
        """A row of the table."""
        values = sorted(self.values(benchmarks))
        if not values:
            return [self.what, self._bound, "not measured", "–"]
        met = values[0] >= self.bound if self.at_least else values[-1] <= self.bound
        shown = dict.fromkeys(f"{value:.{self.digits}f}" for value in (values[0], values[-1]))
        return [
            self.what,
            self._bound,
            " … ".join(shown),
            "yes" if met else "no",
        ]

    @property
    def _bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


def _kernel(
    value: Callable[[Case], float], dtypes: tuple[str, ...], models: tuple[int, ...] | None = None
) -> Values:
    return lambda benchmarks: [
        value(case)
        for case in benchmarks["kernel"].cases
        if case.parameters["dtype"] in dtypes and (models is None or case.parameters["models"] in models)
    ]


def _statistics(case: Case) -> float:
    return case.ratio("native call, statistics", "native call")


def _new_results(pause: float) -> Values:
    return lambda benchmarks: [
        case.ratio("merge, new result", "touched")
        for case in benchmarks["new_results"].where(models=8, pause=pause)
    ]


def _torch(peer: str, ours: str = "merge") -> Values:
    return lambda benchmarks: [
        case.ratio(peer, ours) for case in benchmarks["kernel"].where(dtype="float32") if case.has(peer)
    ]


def _avx2(benchmarks: Benchmarks) -> list[float]:
    return [
        case.ratio("merge", "merge, avx2") for case in benchmarks["kernel"].cases if case.has("merge, avx2")
    ]


def _out_of_core(storage: str) -> Values:
    return lambda benchmarks: [
        case.ratio_to_sum("merge", yardstick(case))
        for case in benchmarks["out_of_core"].where(storage=storage)
    ]


def _peer(name: str) -> Values:
    return lambda benchmarks: [
        case.ratio(name, "negmerge") for case in benchmarks["peers"].cases if case.has(name)
    ]


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


def _gpu_peer(name: str) -> Values:
    return lambda benchmarks: [
        case.ratio(name, "merge") for case in benchmarks["gpu_kernel"].cases if case.has(name)
    ]


def _gpu_model(values: Callable[[Case], list[float]]) -> Values:
    return lambda benchmarks: [value for case in benchmarks["gpu_model"].cases for value in values(case)]


def _gpu_files(benchmarks: Benchmarks) -> list[float]:
    return [case.ratio("merge, cuda", "copy up") for case in benchmarks["gpu_files"].cases]


_READ = "in memory, merge over reading"
TARGETS = (
    Target(f"{_READ}: fp32, N ≤ 16", 1.0, True, _kernel(Case.over_read, ("float32",), (2, 4, 8, 16))),
    Target(f"{_READ}: fp32, N = 30 and 64", 0.95, True, _kernel(Case.over_read, ("float32",), (30, 64))),
    Target(f"{_READ}: bf16 and fp16", 0.9, True, _kernel(Case.over_read, ("bfloat16", "float16"))),
    Target("new result over touched memory, fp32, N = 8", 1.2, False, _new_results(pause=0.0)),
    Target("the same, three seconds after the last call", 1.2, False, _new_results(pause=3.0)),
    Target("statistics in the same pass, over none: fp32", 1.03, False, _kernel(_statistics, ("float32",))),
    Target("the same: bf16 and fp16", 1.03, False, _kernel(_statistics, ("bfloat16", "float16"))),
    Target("`torch.compile` over merge, fp32", 2, True, _torch("torch.compile"), 1),
    Target(
        "the same, new results, fp32", 2, True, _torch("torch.compile, new result", "merge, new result"), 1
    ),
    Target("`torch.stack` over merge, fp32", 30, True, _torch("torch.stack"), 1),
    Target("torch in place over merge, fp32", 15, True, _torch("torch in place"), 1),
    Target("AVX2 over AVX-512, in speed", 0.9, True, _avx2),
    Target("ResNet-18 and CLIP ViT-B/32, N = 8, time over allowance", 1.0, False, _small),
    Target("applying a patch with 90 % zeros again, over a copy", 1.2, False, _patch),
    Target("between files in tmpfs, over cat + cp", 1.0, False, _out_of_core("tmpfs")),
    Target("between cold files, over direct dd", 1.1, False, _out_of_core("cold")),
    Target("mergekit linear over negmerge", 6, True, _peer("mergekit linear"), 1),
    Target("mergekit with the same rule over negmerge", 9, True, _peer("mergekit, same rule"), 1),
    Target("peak memory over max_memory", 1.0, False, _memory),
    Target("time is linear in parameters: share off the line", 0.1, False, _growth("elements")),
    Target("time is linear in N: share off the line", 0.1, False, _growth("models")),
    Target("`negmerge merge --help`, seconds", 0.3, False, _startup("negmerge merge --help")),
    Target("merge of small files, seconds", 0.5, False, _startup("negmerge merge")),
    Target("GPU: merge over device-to-device copy, in bandwidth", 0.95, True, _gpu_kernel),
    Target("GPU: `torch.compile` over merge", 1.3, True, _gpu_peer("torch.compile")),
    Target("GPU: CUB DeviceTransform over merge", 1.0, True, _gpu_peer("CUB")),
    Target("GPU: `torch.stack` over merge", 10, True, _gpu_peer("torch.stack"), 1),
    Target("GPU: CLIP ViT-L/14, device time over allowance", 1.0, False, _gpu_model(gpu_over_allowance)),
    Target("GPU: the same, host µs per tensor and model", 0.3, False, _gpu_model(host_microseconds)),
    Target("GPU: the same, MB of memory besides the result", 1.0, False, _gpu_model(extra_megabytes)),
    Target("GPU: between files in the page cache, over copying up what is read", 1.2, False, _gpu_files),
)


def summary(benchmarks: Benchmarks) -> str:
    """All targets."""
    return table(
        ["what", "target", "measured, least … most", "met"], [target.row(benchmarks) for target in TARGETS]
    )


def speed(benchmarks: Benchmarks) -> str:
    """The few lines for the README."""
    rows: list[list[str]] = []
    for case in benchmarks["kernel"].where(dtype="float32", models=8):
        rows += [
            ["in memory, fp32, N = 8", f"{number(case.bandwidth('merge'))} GB/s"],
            ["over plain reading of the inputs", f"{case.over_read():.2f}"],
        ]
        rows += [
            [f"{name} takes", f"{number(case.ratio(name, 'merge'))} times as long"]
            for name in ("torch.stack", "torch in place", "torch.compile")
            if case.has(name)
        ]
    for case in benchmarks["out_of_core"].where(storage="tmpfs"):
        ratio = case.ratio_to_sum("merge", yardstick(case))
        rows.append(["between files (tmpfs), over `cat` of the inputs + `cp` of the output", f"{ratio:.2f}"])
    peers = benchmarks["peers"].cases
    for name in dict.fromkeys(name for case in peers for name in case.seconds if name != "negmerge"):
        values = sorted(case.ratio(name, "negmerge") for case in peers if case.has(name))
        shown = " … ".join(dict.fromkeys(number(value) for value in (values[0], values[-1])))
        rows.append([f"{name}, whole process, takes", f"{shown} times as long"])
    return table(["", ""], rows)
