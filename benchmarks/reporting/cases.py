"""What result files hold, as the tables and plots ask for it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.read_speed import VARIANTS
from harness.results import read
from harness.samples import fastest, median, quartiles, ratio, ratios

from .bounds import Bound

#: What a page says where nothing was measured.
NOTHING = "Not measured yet."
#: What a cell says of which the rest of its row was measured.
MISSING = "–"


@dataclass(frozen=True)
class Case:
    """One case of a benchmark; see :class:`harness.results.Results`."""

    parameters: dict[str, Any]
    facts: dict[str, Any]
    seconds: dict[str, list[float]]
    instruction_set: str = MISSING  # that its first run used

    def median(self, variant: str) -> float:
        """Median seconds."""
        return median(self.seconds, variant)

    def spread(self, variant: str, unit: float = 1.0) -> str:
        """Median and quartiles in seconds times ``unit``, for a table."""
        values = [value * unit for value in self.seconds[variant]]
        low, high = quartiles(values)
        return f"{number(statistics.median(values))} ({number(low)} … {number(high)})"

    def ratio(self, over: str, under: str) -> float:
        """Median over the rounds of one variant's seconds over another's."""
        return ratio(self.seconds, over, under)

    def ratio_to_sum(self, over: str, under: Sequence[str]) -> float:
        """Median over the rounds of a variant's seconds over those of others together."""
        return statistics.median(ratios(self.seconds, [over], under))

    def spread_over_sum(self, over: str, under: Sequence[str], bound: Bound | None = None) -> str:
        """The same ratio, with decimals that say whether a bound is met, and its quartiles, for a table."""
        values = ratios(self.seconds, [over], under)
        middle, (low, high) = statistics.median(values), quartiles(values)
        return f"{bound.shown(middle) if bound else f'{middle:.2f}'} ({low:.2f} … {high:.2f})"

    def has(self, variant: str) -> bool:
        """Whether a variant was measured."""
        return variant in self.seconds

    @property
    def rounds(self) -> int:
        """Samples of each variant."""
        return min(len(values) for values in self.seconds.values())

    def read(self, suffix: str = "") -> str:
        """The fastest way of reading, with all cores or ``ONE_THREAD``."""
        measured = [name + suffix for name in VARIANTS if self.has(name + suffix)]
        return fastest(self.seconds, measured)

    def read_bandwidth(self, suffix: str = "") -> float:
        """GB/s of reading base and fine-tuned tensors: N + 1 times the model's bytes."""
        return self._bandwidth(self.read(suffix), 1)

    def bandwidth(self, variant: str) -> float:
        """GB/s of a merge: N + 2 times the model's bytes."""
        return self._bandwidth(variant, 2)

    def over_read(self, way: str | None = None) -> float:
        """Bandwidth of the merge over that of a way of reading, the fastest one, in the same rounds."""
        models: int = self.parameters["models"]
        return self.ratio(way or self.read(), "merge") * (models + 2) / (models + 1)

    def _bandwidth(self, variant: str, more: int) -> float:
        nbytes: int = (self.parameters["models"] + more) * self.facts["model_bytes"]
        return nbytes / self.median(variant) / 1e9


@dataclass(frozen=True)
class Benchmark:
    """A result file."""

    cases: list[Case]
    runs: list[dict[str, Any]]

    @classmethod
    def load(cls, path: Path) -> Benchmark:
        """Read a result file; one that does not exist holds nothing."""
        if not path.exists():
            return cls([], [])
        document = read(path)
        runs = document["runs"]
        cases = [
            Case(case["parameters"], case["facts"], case["seconds"], _instruction_set(case, runs))
            for case in document["cases"]
        ]
        return cls(cases, runs)

    def where(self, **parameters: object) -> list[Case]:
        """The cases with these parameters."""
        return [
            case
            for case in self.cases
            if all(case.parameters.get(name) == value for name, value in parameters.items())
        ]


def _instruction_set(case: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    """What the first run of a case used, if that was recorded."""
    for first in case.get("runs", ())[:1]:
        return str(runs[first]["versions"].get("instruction_set", MISSING))
    return MISSING


#: Every benchmark's result file, by the benchmark's name.
Benchmarks = Mapping[str, Benchmark]

#: Those whose tables have the cases of two machines, told apart by their instruction sets.
_OF_BOTH = ("kernel", "reading_order", "new_results", "small_tensors", "patch", "out_of_core", "peers")


def together(first: Benchmarks, second: Benchmarks) -> dict[str, Benchmark]:
    """The cases of two machines where tables have both, and else the first's if it has some."""
    joined = {name: benchmark if benchmark.cases else second[name] for name, benchmark in first.items()}
    for name in _OF_BOTH:
        one, other = first[name], second[name]
        joined[name] = Benchmark([*one.cases, *other.cases], [*one.runs, *other.runs])
    return joined


def number(value: float) -> str:
    """Three significant digits without an exponent; below 1, three decimals."""
    whole = len(str(int(value)))
    return f"{value:.{3 if value < 1 else max(0, 3 - whole)}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, or what stands where nothing was measured."""
    if not rows:
        return NOTHING
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
