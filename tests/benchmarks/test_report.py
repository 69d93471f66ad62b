"""The pages say what the result files hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from harness.read_speed import ONE_THREAD, VARIANTS
from harness.results import FOLDER
from programs import import_path
from report import NAMES, OTHER_FOLDER, PAGES, PLOTS, loaded
from reporting.bounds import Bound, at_least, at_most, over_read
from reporting.cases import MISSING, Benchmark, Case, number, table, together
from reporting.plots import draw, stale
from reporting.summary import Target, speed, summary
from reporting.tables import (
    instruction_sets,
    kernel,
    line_through,
    machines,
    over_allowance,
    reading_order,
    tiny_microseconds,
    tiny_tensors,
)

REPORT = Path(__file__).resolve().parents[2] / "benchmarks" / "report.py"


def test_pages_are_up_to_date() -> None:
    command = [sys.executable, str(REPORT), "--check"]
    done = subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    case = {"parameters": {"case": "processes"}, "facts": {}, "seconds": {"never measured": [12.5]}}
    (tmp_path / "startup.json").write_text(json.dumps({"cases": [case], "runs": []}))
    command = [sys.executable, str(REPORT), "--check", "--results", str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "benchmarks.md" in done.stderr


def test_results_of_another_machine_are_printed(tmp_path: Path) -> None:
    pages = [page.read_text() for page in PAGES]
    case = {"parameters": {}, "facts": {}, "seconds": {"negmerge merge": [0.125], "negmerge --help": [1.0]}}
    (tmp_path / "startup.json").write_text(json.dumps({"cases": [case], "runs": []}))
    command = [sys.executable, str(REPORT), "--results", str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "startup:" in done.stdout
    assert "| `negmerge merge` | 0.125 (0.125 … 0.125) |" in done.stdout
    assert [page.read_text() for page in PAGES] == pages


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    command = [sys.executable, str(REPORT), "--results", str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"there is no result file in {tmp_path}" in done.stderr


class TestPlots:
    @pytest.fixture
    def measured(self) -> dict[str, Benchmark]:
        return together(loaded(FOLDER), loaded(FOLDER / OTHER_FOLDER))

    def test_ticks_are_numbers(self, measured: dict[str, Benchmark], tmp_path: Path) -> None:
        draw(measured, tmp_path)
        drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
        assert drawn.keys() == {"growth.svg", "memory.svg", "roofline.svg"}
        # Ticks say numbers without powers of ten, which are easier to compare.
        assert not any("×" in text for text in drawn.values())

    def test_nothing_is_drawn_of_nothing(self, tmp_path: Path) -> None:
        nothing = {name: Benchmark([], []) for name in NAMES}
        draw(nothing, tmp_path)
        assert list(tmp_path.iterdir()) == []
        assert stale(nothing, tmp_path) == []

    def test_those_of_the_documentation_are_up_to_date(self, measured: dict[str, Benchmark]) -> None:
        assert stale(measured, PLOTS) == []

    def test_stale_ones_are_noticed(self, measured: dict[str, Benchmark], tmp_path: Path) -> None:
        assert stale(measured, tmp_path) == ["roofline.svg", "growth.svg", "memory.svg"]
        draw(measured, tmp_path)
        assert stale(measured, tmp_path) == []
        seconds = measured["kernel"].where(dtype="float16", models=8)[0].seconds
        seconds["merge"] = [1.01 * value for value in seconds["merge"]]
        assert stale(measured, tmp_path) == ["roofline.svg"]
        del measured["growth"].where(grows="models")[0].seconds["merge"][0]
        measured["memory"].where(grows="size")[0].facts["max_memory"] += 2**20
        assert stale(measured, tmp_path) == ["roofline.svg", "growth.svg", "memory.svg"]


ONE_THREAD_READS = [name + ONE_THREAD for name in VARIANTS]


def kernel_case() -> Case:
    reads = {"read: 1 stream": [1.0, 2.0, 1.0], "read: 1 stream, prefetch": [2.0, 2.0, 3.0]}
    reads |= {f"read: {streams}": [9.0, 9.0, 9.0] for streams in ("2 streams", "4 streams")}
    reads["read: 4 streams, prefetch"] = [9.0, 9.0, 9.0]
    return Case(
        {"models": 2, "dtype": "float32", "instruction_set": "avx2"},
        {"model_bytes": 6e9},
        {**reads, "merge": [2.0, 2.0, 4.0], **{name: [4.0, 4.0, 4.0] for name in ONE_THREAD_READS}},
    )


def test_bandwidths() -> None:
    case = kernel_case()
    assert case.read() == "read: 1 stream"
    assert case.read_bandwidth() == 3 * 6 / 1.0
    assert case.bandwidth("merge") == 4 * 6 / 2.0
    assert case.over_read() == pytest.approx(0.5 * 4 / 3)  # rounds: 0.5, 1, 0.25


def test_what_small_tensors_may_take() -> None:
    case = kernel_case()
    case.facts.update(tensors=1_000_000)
    allowed = [1.1 * read * 4 / 3 + 0.6 for read in (1.0, 2.0, 1.0)]
    assert over_allowance(case) == pytest.approx(2.0 / allowed[0])  # rounds: 0.97, 0.57, 1.94


def test_a_sum_of_variants_is_compared_round_by_round() -> None:
    case = Case({}, {}, {"merge": [3.0, 6.0, 9.0], "cat": [1.0, 1.0, 1.0], "cp": [1.0, 2.0, 0.5]})
    assert case.spread_over_sum("merge", ["cat", "cp"]) == "2.00 (1.75 … 4.00)"


def test_what_was_not_measured_has_a_row() -> None:
    row = Target("something", at_least(2), lambda _: []).row({})
    assert row == ["something", "≥ 2", "–", "–"]


def test_machines_of_the_summary_stand_beside_each_other() -> None:
    fast, slow = ({"negmerge merge": [seconds]} for seconds in (0.4, 0.6))
    one, other = ({name: Benchmark([], []) for name in NAMES} for _ in range(2))
    one["startup"] = Benchmark([Case({}, {}, fast)], [])
    rows = summary({"one": one, "other": other}).splitlines()
    assert rows[0] == "| what | target | one | other | met |"
    assert "| merge of small files, seconds | ≤ 0.5 | 0.40 | – | yes |" in rows
    other["startup"] = Benchmark([Case({}, {}, slow)], [])
    rows = summary({"one": one, "other": other}).splitlines()
    assert "| merge of small files, seconds | ≤ 0.5 | 0.40 | 0.60 | no |" in rows


def test_machines_of_the_readme_stand_beside_each_other() -> None:
    one, other = ({name: Benchmark([], []) for name in NAMES} for _ in range(2))
    one["peers"] = Benchmark([Case({}, {}, {"negmerge": [1.0], "tool": [3.0]})], [])
    assert speed({"one": one, "other": other}).splitlines() == [
        "|  | one | other |",
        "| --- | --- | --- |",
        "| tool, whole process, takes, times as long | 3.00 | – |",
    ]


def test_reading_in_order_lies_between_reading_and_the_merge() -> None:
    seconds = {
        "read: 1 stream": [3.0, 3.0, 3.0],
        "in order": [5.0, 5.0, 5.0],
        "in order, prefetch": [4.0, 2.0, 2.0],
        "merge": [4.0, 4.0, 3.0],
    }
    case = Case({"models": 2}, {"model_bytes": 10**9}, seconds, "avx2")
    row = reading_order({"reading_order": Benchmark([case], [])}).splitlines()[2]
    # Medians within rounds: of 3/4, 3/2 and 3/2; of 3/4, 3/4 and 3/3, and of 4/4, 2/4 and 2/3, times 4/3.
    assert row == "| avx2 | 2 | 1.00 | in order, prefetch | 1.50 | 1.00 | 0.89 | 3 |"


def test_kernels_of_two_machines_in_one_folder_are_an_error(tmp_path: Path) -> None:
    cases = [
        {"parameters": {**kernel_case().parameters, "instruction_set": name}, "facts": {}, "seconds": {}}
        for name in ("avx2", "avx512")
    ]
    (tmp_path / "kernel.json").write_text(json.dumps({"cases": cases, "runs": []}))
    command = [sys.executable, str(REPORT), "--check", "--results", str(tmp_path)]
    done = subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "kernels of machines with avx2 and avx512" in done.stderr


def test_cases_of_two_machines_together() -> None:
    one, other = ({name: Benchmark([], []) for name in NAMES} for _ in range(2))
    first, second = kernel_case(), Case({"models": 4}, {}, {})
    one["kernel"], other["kernel"] = Benchmark([first], [{"run": 1}]), Benchmark([second], [{"run": 2}])
    one["new_results"], other["new_results"] = Benchmark([first], []), Benchmark([second], [])
    one["growth"], other["growth"] = Benchmark([first], []), Benchmark([second], [])
    other["startup"] = Benchmark([second], [{"run": 3}])
    both = together(one, other)
    assert both["kernel"] == Benchmark([first, second], [{"run": 1}, {"run": 2}])
    assert both["new_results"] == Benchmark([first, second], [])
    assert both["growth"] == one["growth"]
    assert both["startup"] == other["startup"]


def test_a_case_knows_the_instruction_set_of_its_first_run(tmp_path: Path) -> None:
    cases = [{"parameters": {}, "facts": {}, "seconds": {}, "runs": runs} for runs in ([1, 0], [0], [])]
    runs = [{"versions": {}}, {"versions": {"instruction_set": "avx2"}}]
    (tmp_path / "kernel.json").write_text(json.dumps({"cases": cases, "runs": runs}))
    loaded_cases = Benchmark.load(tmp_path / "kernel.json").cases
    assert [case.instruction_set for case in loaded_cases] == ["avx2", MISSING, MISSING]


def test_line_through() -> None:
    cases = [Case({"models": n}, {}, {"merge": [0.5 + 2.0 * n]}) for n in (1, 2, 4, 8)]
    assert line_through(cases, "models") == pytest.approx((0.5, 2.0, 0.0), abs=1e-9)


@pytest.mark.parametrize(
    ("bound", "values", "shown", "met"),
    [
        (at_least(1.0), [1.0, 2.0], "1.00 … 2.00", "yes"),
        (at_least(1.0), [0.9, 2.0], "0.90 … 2.00", "no"),
        (at_most(1.0), [0.5, 1.0], "0.50 … 1.00", "yes"),
        (at_most(1.0), [0.5, 1.1], "0.50 … 1.10", "no"),
        (at_least(0.9), [0.899, 0.904], "0.899 … 0.90", "no"),
        (at_most(1.2), [1.204, 1.2], "1.20 … 1.204", "no"),
    ],
)
def test_a_target_holds_for_all_cases(bound: Bound, values: list[float], shown: str, met: str) -> None:
    assert Target("what", bound, lambda _: values).row({}) == ["what", str(bound), shown, met]


@pytest.mark.parametrize(
    ("bound", "value", "shown"),
    [
        (at_least(0.9), 0.8993, "0.899"),
        (at_least(0.9), 0.89996, "0.89996"),
        (at_least(0.9), 0.894, "0.89"),
        (at_least(0.9), 0.896, "0.896"),
        (at_least(0.9), 0.9, "0.90"),
        (at_least(0.9), 0.904, "0.90"),
        (at_most(1.03), 1.0349, "1.035"),
        (at_most(1.03), 1.0251, "1.03"),
        (at_most(1.03), 1.036, "1.04"),
        (at_least(30, 1), 29.96, "29.96"),
        (at_most(0.3, 0), 0.2, "0"),
        (at_most(0.3, 0), 0.7, "1"),
        (at_least(1.25, 1), 1.28, "1.3"),
        (at_least(1.25, 1), 1.251, "1.3"),
        (at_least(1.25, 1), 1.249, "1.2"),
    ],
)
def test_rounding_does_not_cross_a_bound(bound: Bound, value: float, shown: str) -> None:
    assert bound.shown(value) == shown
    assert bound.met(float(shown)) == bound.met(value)


def test_a_table_shows_on_which_side_of_its_bound_a_figure_lies() -> None:
    case = kernel_case()
    case.parameters.update(dtype="bfloat16")
    case.seconds["merge"] = [read * 4 / 3 / 0.8993 for read in case.seconds[case.read()]]
    case.seconds["merge, new result"] = case.seconds["native call"] = case.seconds["merge"]
    case.seconds["native call, statistics"] = [1.0301 * seconds for seconds in case.seconds["merge"]]
    (row,) = kernel({"kernel": Benchmark([case], [])}).splitlines()[2:]
    assert row.split(" | ")[5:8] == ["0.899", "1.00", "1.0301"]


def test_machines_of_two_instruction_sets_stand_beside_each_other() -> None:
    seconds = kernel_case().seconds | {"native call": [1.0] * 3, "native call, statistics": [1.0] * 3}
    seconds["merge, 1 thread"] = [4.0, 4.0, 4.0]
    older = kernel_case().parameters | {"instruction_set": "avx512"}
    slower = {**seconds, "merge": [4.0, 4.0, 4.0], "merge, new result": [6.0, 6.0, 6.0]}
    measured = {
        "kernel": Benchmark(
            [
                Case(kernel_case().parameters, kernel_case().facts, slower),
                Case(older, kernel_case().facts, {**seconds, "merge, avx2": [3.0, 3.0, 3.0]}),
            ],
            [],
        )
    }
    rows = [line.split(" | ") for line in kernel(measured).splitlines()[2:]]
    assert [(row[0], row[6]) for row in rows] == [("| avx512", "–"), ("| avx2", "1.50")]
    lines = [line.split(" | ") for line in instruction_sets(measured).splitlines()]
    assert lines[0][3:7] == ["avx512 GB/s", "avx2 GB/s", "AVX2 over AVX-512", "one thread GB/s"]
    assert [line[3:7] for line in lines[2:]] == [["12.0", "8.00", "0.67", "6.00"], ["–", "6.00", "–", "6.00"]]


def test_tiny_tensors_beside_what_is_allowed() -> None:
    facts = {"tensors": 100, "reads": False}
    case = Case({"case": "tiny", "models": 8}, facts, {"merge": [4e-4], "merge, new result": [8e-4]})
    measured = {"small_tensors": Benchmark([case], [])}
    assert tiny_tensors(measured).splitlines()[0] == (
        "| instructions | model | merge ms (quartiles) | allowed µs per tensor and model |"
        " merge µs (quartiles) | new result µs (quartiles) |"
    )
    (row,) = tiny_tensors(measured).splitlines()[2:]
    assert row == ("| – | tiny | 0.400 (0.400 … 0.400) | 0.3 | 0.500 (0.500 … 0.500) | 1.00 (1.00 … 1.00) |")
    assert tiny_microseconds(measured) == pytest.approx([0.5])


def test_bounds_of_bandwidth() -> None:
    assert [over_read("float32", models).value for models in (2, 16, 30, 64)] == [1.0, 1.0, 0.95, 0.95]
    assert over_read("float16", 2) == over_read("bfloat16", 64) == at_least(0.9)


def a_run(command: str, machine: Mapping[str, object], versions: Mapping[str, object]) -> dict[str, Any]:
    return {
        "command": command,
        "date": "2026-01-02T03:04:05+00:00",
        "niceness": 0,
        "commit": {"hash": "12ab", "changed": False},
        "load_before": [1.5, 1, 1],
        "load_after": [2.5, 1, 1],
        "machine": machine,
        "versions": versions,
    }


def test_runs_say_what_was_recorded() -> None:
    versions = dict.fromkeys(("python", "torch", "numpy", "negmerge_ext"), "1.0")
    machine = dict.fromkeys(("cpu", "cores", "memory_gib", "system", "transparent_huge_pages"), "any")
    clean, changed, exported = (a_run(name, machine, versions) for name in ("clean", "changed", "exported"))
    changed["commit"] = {"hash": "12ab", "changed": True}
    exported["commit"] = None
    measured = [{"kernel": Benchmark([], [clean, changed])}, {"kernel": Benchmark([], [exported])}]
    assert machines(measured).splitlines()[2:] == [
        "| command | commit | date | niceness | load before | load after |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `clean` | 12ab | 2026-01-02 | 0 | 1.50 | 2.50 |",
        "| `changed` | 12ab, changed | 2026-01-02 | 0 | 1.50 | 2.50 |",
        "| `exported` | – | 2026-01-02 | 0 | 1.50 | 2.50 |",
    ]
    assert machines([{}]) == "Not measured yet."


def test_machines_of_one_name_are_told_apart() -> None:
    versions = dict.fromkeys(("python", "torch", "numpy", "negmerge_ext"), "1.0")
    machine = {"cpu": "AMD EPYC", "cores": 2, "memory_gib": 8, "system": "any"}
    machine["transparent_huge_pages"] = "madvise"
    run = a_run("any", machine, versions)
    avx2 = {**versions, "instruction_sets": ["scalar", "avx2"], "instruction_set": "avx2"}
    forced = {**avx2, "instruction_set": "scalar"}
    zen3, zen4 = ({**machine, "cpu_family": 25, "cpu_model": model} for model in (1, 17))
    runs = [run, run, {**run, "versions": avx2}, {**run, "versions": forced}, {**run, "machine": zen3}]
    runs += [{**run, "machine": zen4}, {**run, "machine": zen3, "versions": avx2}, run]
    lines = machines([{"kernel": Benchmark([], runs)}]).splitlines()
    assert [line.partition(", 2 cores")[0] for line in lines if "cores" in line] == [
        "AMD EPYC",
        "AMD EPYC (scalar avx2, of which avx2 used)",
        "AMD EPYC (scalar avx2, of which scalar used)",
        "AMD EPYC (family 25, model 1)",
        "AMD EPYC (family 25, model 17)",
        "AMD EPYC (family 25, model 1, scalar avx2, of which avx2 used)",
    ]
    assert lines.count("| `any` | 12ab | 2026-01-02 | 0 | 1.50 | 2.50 |") == len(runs)


def test_numbers_and_tables() -> None:
    assert [number(value) for value in (0.01234, 1.2345, 12.345, 123.45, 12345.6)] == [
        "0.012",
        "1.23",
        "12.3",
        "123",
        "12346",
    ]
    assert table(["a"], []) == "Not measured yet."
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
