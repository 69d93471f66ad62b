"""The tables of docs/benchmarks.md, one function each."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from harness.read_speed import IN_ORDER, ONE_THREAD
from harness.samples import fastest

from . import bounds
from .bounds import Bound
from .cases import MISSING, NOTHING, Benchmarks, Case, number, table

_DTYPES = ("float32", "bfloat16", "float16")
#: The fastest first.
INSTRUCTION_SETS = ("avx512", "avx2", "neon", "scalar")


def kernel_cases(benchmarks: Benchmarks, **parameters: object) -> list[Case]:
    """Those with these parameters, by the instruction set that was used, then by dtype and N."""
    return sorted(
        benchmarks["kernel"].where(**parameters),
        key=lambda case: (
            INSTRUCTION_SETS.index(case.parameters["instruction_set"]),
            _DTYPES.index(case.parameters["dtype"]),
            case.parameters["models"],
        ),
    )


def _identity(case: Case) -> list[str]:
    """The first cells of a row; see :data:`_IDENTITY`."""
    return [str(case.parameters[name]) for name in ("instruction_set", "dtype", "models")]


_IDENTITY = ("instructions", "dtype", "N")


def over_read_bound(case: Case) -> Bound:
    """What the bandwidth of a merge over that of reading should be; the order of reading is of fp32 only."""
    return bounds.over_read(case.parameters.get("dtype", "float32"), case.parameters["models"])


def kernel(benchmarks: Benchmarks) -> str:
    """Bandwidth of the merge beside that of reading."""
    rows = [
        [
            *_identity(case),
            number(case.read_bandwidth()),
            number(case.bandwidth("merge")),
            over_read_bound(case).shown(case.over_read()),
            f"{case.ratio('merge, new result', 'merge'):.2f}" if case.has("merge, new result") else MISSING,
            bounds.STATISTICS.shown(case.ratio("native call, statistics", "native call")),
            case.spread("merge", 1e3),
            str(case.rounds),
        ]
        for case in kernel_cases(benchmarks)
    ]
    head = [
        *_IDENTITY,
        "read GB/s",
        "merge GB/s",
        "merge over read",
        "new result over given one",
        "statistics over none",
    ]
    return table([*head, "merge ms (quartiles)", "rounds"], rows)


def instruction_sets(benchmarks: Benchmarks) -> str:
    """Every instruction set that a machine has, and one thread with the one it uses."""
    cases = kernel_cases(benchmarks)

    def variant(case: Case, name: str) -> str:
        return "merge" if name == case.parameters["instruction_set"] else f"merge, {name}"

    sets = [name for name in INSTRUCTION_SETS if any(case.has(variant(case, name)) for case in cases)]
    rows = [
        [
            *_identity(case),
            *(
                number(case.bandwidth(variant(case, name))) if case.has(variant(case, name)) else MISSING
                for name in sets
            ),
            bounds.AVX2.shown(case.ratio("merge", "merge, avx2")) if case.has("merge, avx2") else MISSING,
            number(case.bandwidth("merge, 1 thread")),
            number(case.read_bandwidth(ONE_THREAD)),
        ]
        for case in cases
    ]
    head = [*_IDENTITY, *(f"{name} GB/s" for name in sets), "AVX2 over AVX-512"]
    return table([*head, "one thread GB/s", "read, one thread GB/s"], rows)


def torch(benchmarks: Benchmarks) -> str:
    """How much longer torch takes."""
    over = {
        "torch.stack": "merge",
        "torch in place": "merge",
        "torch.compile": "merge",
        "torch.compile, new result": "merge, new result",
    }
    rows = [
        [
            *_identity(case),
            *(
                bounds.TORCH[peer].shown(case.ratio(peer, ours)) if case.has(peer) else MISSING
                for peer, ours in over.items()
            ),
        ]
        for case in kernel_cases(benchmarks)
        if any(case.has(peer) for peer in over)
    ]
    return table([*_IDENTITY, *over], rows)


def reading_order(benchmarks: Benchmarks) -> str:
    """Reading in the order of a merge, between plain reading and the merge; bandwidths over plain reading."""
    rows = []
    for case in benchmarks["reading_order"].cases:
        way, models = fastest(case.seconds, IN_ORDER), case.parameters["models"]
        cells = [
            f"{case.ratio(case.read(), way):.2f}",
            over_read_bound(case).shown(case.over_read()),
            f"{case.over_read(way):.2f}",
        ]
        identity = case.instruction_set, str(models)
        rows.append([*identity, number(case.read_bandwidth()), way, *cells, str(case.rounds)])
    head = ["instructions", "N", "read GB/s", "fastest way in order", "in order over read", "merge over read"]
    return table([*head, "merge over in order", "rounds"], rows)


def line_through(cases: list[Case], parameter: str) -> tuple[float, float, float]:
    """The line through the medians with the least squares of relative distances.

    Returns seconds at zero, seconds per unit of the parameter, and the largest relative distance.
    """
    sizes = np.array([case.parameters[parameter] for case in cases], float)
    times = np.array([case.median("merge") for case in cases])
    weighted = np.stack([1 / times, sizes / times], axis=1)
    (constant, slope), *_ = np.linalg.lstsq(weighted, np.ones_like(times), rcond=None)
    return float(constant), float(slope), float(np.abs((constant + slope * sizes) / times - 1).max())


def growth(benchmarks: Benchmarks) -> str:
    """Time by parameters and by models."""
    parts = []
    for grows, head in (("elements", "parameters"), ("models", "N")):
        cases = benchmarks["growth"].where(grows=grows)
        first = cases[0] if cases else None
        rows = [
            [
                f"{case.parameters[grows]:,}".replace(",", " "),
                case.spread("merge", 1e3),
                number(case.median("merge") / first.median("merge")) if first else "",
            ]
            for case in cases
        ]
        parts.append(table([head, "ms (quartiles)", "times the first"], rows))
        if len(cases) > 1:
            constant, slope, distance = line_through(cases, grows)
            at_most = bounds.at_most(bounds.OFF_THE_LINE.value * 100, digits=0)
            each, unit = ("N", slope) if grows == "models" else ("million parameters", slope * 1e6)
            parts.append(
                f"A line through the medians: {constant * 1e3:.2f} ms + {unit * 1e3:.3f} ms per {each};"
                f" at most {at_most.shown(distance * 100)}% off."
            )
    return "\n\n".join(parts)


def over_allowance(case: Case) -> float:
    """Median, over the rounds, of a call's seconds over those that it may take in the same round.

    These are the time of reading for the bytes that move, and a share per tensor and model. The model's
    tensors are large enough for reading them to have been timed.
    """
    models, tensors = case.parameters["models"], case.facts["tensors"]
    overhead = bounds.MICROSECONDS_PER_TENSOR_AND_MODEL.value * 1e-6 * tensors * models
    moving = bounds.OVER_BYTES * (models + 2) / (models + 1)
    rounds = zip(case.seconds["merge"], case.seconds[case.read()], strict=True)
    return float(statistics.median(merge / (moving * read + overhead) for merge, read in rounds))


def new_results(benchmarks: Benchmarks) -> str:
    """Merges into memory that is had anew, over one into touched memory."""
    ways = ("small pages", "small pages, made before", "huge pages", "huge pages, made before")
    rows = [
        [
            case.instruction_set,
            str(case.parameters["models"]),
            f"{case.parameters['pause']:g}",
            case.spread("touched", 1e3),
            *(f"{case.ratio(name, 'touched'):.2f}" for name in ways),
            bounds.NEW_RESULT.shown(case.ratio("merge, new result", "touched")),
            str(case.rounds),
        ]
        for case in benchmarks["new_results"].cases
    ]
    head = ["instructions", "N", "pause s", "touched ms (quartiles)", *ways, "`merge()`", "rounds"]
    return table(head, rows)


def small_tensors(benchmarks: Benchmarks) -> str:
    """Models of many small tensors."""
    rows = [
        [
            case.instruction_set,
            case.parameters["case"],
            str(case.facts["tensors"]),
            case.spread(case.read(), 1e3),
            case.spread("merge", 1e3),
            case.spread("merge, new result", 1e3),
            bounds.OVER_ALLOWED.shown(over_allowance(case)),
        ]
        for case in _small_cases(benchmarks, reads=True)
    ]
    head = ["instructions", "model", "tensors", "read ms (quartiles)", "merge ms (quartiles)"]
    return table([*head, "new result ms (quartiles)", "merge over allowed"], rows)


def tiny_tensors(benchmarks: Benchmarks) -> str:
    """Models of tensors that take no time to read: what remains of a call."""
    rows = []
    for case in _small_cases(benchmarks, reads=False):
        per_tensor = 1e6 / (case.facts["tensors"] * case.parameters["models"])
        rows.append(
            [
                case.instruction_set,
                case.parameters["case"],
                case.spread("merge", 1e3),
                f"{bounds.MICROSECONDS_PER_TENSOR_AND_MODEL.value:g}",
                case.spread("merge", per_tensor),
                case.spread("merge, new result", per_tensor),
            ]
        )
    head = ["instructions", "model", "merge ms (quartiles)", "allowed µs per tensor and model"]
    return table([*head, "merge µs (quartiles)", "new result µs (quartiles)"], rows)


def tiny_microseconds(benchmarks: Benchmarks) -> list[float]:
    """Microseconds per tensor and model where nothing but the call takes time, by model."""
    return [
        case.median("merge") * 1e6 / (case.facts["tensors"] * case.parameters["models"])
        for case in _small_cases(benchmarks, reads=False)
    ]


def _small_cases(benchmarks: Benchmarks, *, reads: bool) -> list[Case]:
    cases = [case for case in benchmarks["small_tensors"].cases if case.facts["reads"] == reads]
    return sorted(cases, key=lambda case: (_rank(case.instruction_set), case.facts["tensors"]))


def _rank(instruction_set: str) -> int:
    """The fastest first, what is not known last."""
    return (*INSTRUCTION_SETS, instruction_set).index(instruction_set)


def patch(benchmarks: Benchmarks) -> str:
    """Applying in place."""
    rows = [
        [
            case.instruction_set,
            f"{case.parameters['sparsity_percent']} %",
            number(case.facts["patch_bytes"] / 1e6),
            *(case.spread(name, 1e3) for name in ("copy", "apply", "revert", "first apply")),
            bounds.PATCH_OVER_COPY.shown(case.ratio("apply", "copy")),
        ]
        for case in benchmarks["patch"].cases
    ]
    head = ["instructions", "zeros", "patch MB", "copy ms", "apply ms", "revert ms", "first apply ms"]
    return table([*head, "apply over copy"], rows)


def yardstick(case: Case) -> list[str]:
    """What a merge between files is compared with."""
    return [name for name in case.seconds if name not in ("merge", "start-up")]


def out_of_core(benchmarks: Benchmarks) -> str:
    """Merging between files."""
    rows = [
        [
            case.instruction_set,
            case.parameters["storage"],
            case.facts["filesystem"],
            *(f"{name}: {case.spread(name)}" for name in yardstick(case)),
            case.spread("merge"),
            case.spread("start-up") if case.has("start-up") else MISSING,
            case.spread_over_sum("merge", yardstick(case), bounds.FILES.get(case.parameters["storage"])),
            str(case.rounds),
        ]
        for case in benchmarks["out_of_core"].cases
    ]
    head = [
        "instructions",
        "storage",
        "file system",
        "reading s",
        "writing s",
        "merge s",
        "of that start-up s",
    ]
    return table([*head, "merge over both (quartiles)", "rounds"], rows)


def memory(benchmarks: Benchmarks) -> str:
    """Peak memory by size of the model, then by number of models."""
    head = ["model GB", "N", "idle MiB", "peak MiB", "above idle MiB", "over max_memory"]
    return "\n\n".join(
        table(
            head,
            [
                [
                    number(case.parameters["model_bytes"] / 1e9),
                    str(case.parameters["models"]),
                    f"{case.facts['idle_bytes'] / 2**20:.0f}",
                    f"{case.facts['peak_bytes'] / 2**20:.0f}",
                    f"{(above := case.facts['peak_bytes'] - case.facts['idle_bytes']) / 2**20:.0f}",
                    bounds.OVER_MAX_MEMORY.shown(above / case.facts["max_memory"]),
                ]
                for case in benchmarks["memory"].where(grows=grows)
            ],
        )
        for grows in ("size", "models")
    )


def peers(benchmarks: Benchmarks) -> str:
    """Whole processes."""
    rows = [
        [
            case.instruction_set,
            case.parameters["model"],
            case.facts["filesystem"],
            name,
            case.spread(name),
            _over_negmerge(case, name),
            str(case.rounds),
        ]
        for case in benchmarks["peers"].cases
        for name in case.seconds
    ]
    head = ["instructions", "model", "file system", "process", "s (quartiles)", "over negmerge", "rounds"]
    return table(head, rows)


def _over_negmerge(case: Case, name: str) -> str:
    value, bound = case.ratio(name, "negmerge"), bounds.PEERS.get(name)
    return bound.shown(value) if bound else f"{value:.1f}"


def fine_tuning(benchmarks: Benchmarks) -> str:
    """A step of several fine-tunings, in turn and at once."""
    rows = [
        [
            case.parameters["model"],
            case.parameters["device"],
            str(case.parameters["threads"]),
            str(case.facts["batch"]),
            *(case.spread(name, 1e3) for name in ("in turn", "at once")),
            f"{case.ratio('at once', 'in turn'):.2f}",
            str(case.rounds),
        ]
        for case in benchmarks["fine_tuning"].cases
    ]
    head = ["model", "device", "threads", "images", "in turn ms (quartiles)", "at once ms (quartiles)"]
    return table([*head, "at once over in turn", "rounds"], rows)


def startup(benchmarks: Benchmarks) -> str:
    """Processes that do little."""
    rows = [[f"`{name}`", case.spread(name)] for case in benchmarks["startup"].cases for name in case.seconds]
    return table(["process", "s (quartiles)"], rows)


def machines(measured: Sequence[Benchmarks]) -> str:
    """The runs behind the tables, by machine and versions."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for benchmarks in measured:
        for run in (run for benchmark in benchmarks.values() for run in benchmark.runs):
            machine, versions = run["machine"], run["versions"]
            where = (
                f"{_cpu(machine, versions)}, {machine['cores']} cores, {machine['memory_gib']} GiB,"
                f" {machine['system']}, huge pages: {machine['transparent_huge_pages']}"
                f"{''.join(f', {gpu}' for gpu in machine.get('gpus', []))};"
                f" Python {versions['python']}, torch {versions['torch']}, numpy {versions['numpy']},"
                f" negmerge_ext {versions['negmerge_ext']}"
            )
            runs.setdefault(where, []).append(run)
    return "\n\n".join(f"{where}:\n\n{_runs(each)}" for where, each in runs.items()) or NOTHING


def _cpu(machine: Mapping[str, Any], versions: Mapping[str, Any]) -> str:
    """A processor's name and what else was recorded of it: many processors have one name."""
    told = [f"{name} {machine[f'cpu_{name}']}" for name in ("family", "model") if f"cpu_{name}" in machine]
    if sets := versions.get("instruction_sets"):
        told.append(f"{' '.join(sets)}, of which {versions['instruction_set']} used")
    return f"{machine['cpu']} ({', '.join(told)})" if told else str(machine["cpu"])


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    """Commands and what was recorded of their runs."""
    rows = [
        [
            f"`{run['command']}`",
            _commit(run["commit"]),
            run["date"][:10],
            str(run["niceness"]),
            *(f"{run[f'load_{when}'][0]:.2f}" for when in ("before", "after")),
        ]
        for run in runs
    ]
    return table(["command", "commit", "date", "niceness", "load before", "load after"], rows)


def _commit(commit: Mapping[str, Any] | None) -> str:
    return f"{commit['hash']}{', changed' if commit['changed'] else ''}" if commit else MISSING


TABLES: dict[str, Callable[[Benchmarks], str]] = {
    each.__name__: each
    for each in (
        kernel,
        instruction_sets,
        torch,
        reading_order,
        growth,
        new_results,
        small_tensors,
        tiny_tensors,
        patch,
        out_of_core,
        memory,
        peers,
        fine_tuning,
        startup,
    )
}
