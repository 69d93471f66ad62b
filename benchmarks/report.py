"""Put what benchmarks/results holds into docs/benchmarks.md and the README, and draw the plots.

Tables stand between `<!-- benchmarks: NAME -->` and `<!-- end -->`; no figure there is written by hand.

    python benchmarks/report.py             # rewrite tables and plots
    python benchmarks/report.py --check     # fail if a table or plot differs from the result files
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from harness import options
from harness.results import FOLDER
from reporting.cases import NOTHING, Benchmark, Benchmarks, together
from reporting.gpu_tables import GPU_TABLES
from reporting.plots import draw, stale
from reporting.summary import gpu_summary, speed, summary
from reporting.tables import TABLES, machines

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "README.md")
PLOTS = ROOT / "docs" / "img"
NAMES = (
    "kernel",
    "reading_order",
    "growth",
    "new_results",
    "small_tensors",
    "patch",
    "out_of_core",
    "memory",
    "peers",
    "fine_tuning",
    "startup",
    *GPU_TABLES,
)
_SECTION = re.compile(r"(<!-- benchmarks: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: The summary's columns, one for each machine.
FIRST, OTHER = "AVX-512", "AVX2 alone"
#: Beside the first one's result files; it has the second one's.
OTHER_FOLDER = "avx2"


def loaded(folder: Path) -> Benchmarks:
    """Every benchmark's result file."""
    return {name: Benchmark.load(folder / f"{name}.json") for name in NAMES}


def all_tables(benchmarks: Benchmarks, other: Benchmarks, both: Benchmarks) -> dict[str, str]:
    """Every table by name; ``both``: the two machines' results together."""
    by_machine = {FIRST: benchmarks, OTHER: other}
    made = {name: make(both) for name, make in {**TABLES, **GPU_TABLES, "gpu_summary": gpu_summary}.items()}
    made |= {"summary": summary(by_machine), "speed": speed(by_machine)}
    return made | {"machines": machines([benchmarks, other])}


def rendered(text: str, tables: Mapping[str, str]) -> str:
    """A page with its tables made anew."""
    return _SECTION.sub(lambda found: f"{found[1]}\n{tables[found[2]]}\n\n{found[3]}", text)


def check_machines(folder: Path, benchmarks: Benchmarks) -> None:
    """End the program if kernels of two machines are in one folder: a column of the summary is of one."""
    sets = {case.parameters["instruction_set"] for case in benchmarks["kernel"].cases}
    if len(sets) > 1:
        sys.exit(
            f"{folder} has kernels of machines with {' and '.join(sorted(sets))}: --out puts them elsewhere"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    parser.add_argument(
        "--results",
        type=options.folder,
        default=FOLDER,
        help="folder of result files; of another than the project's, tables are printed, not written",
    )
    arguments = parser.parse_args()
    if not any((arguments.results / f"{name}.json").is_file() for name in NAMES):
        parser.error(f"there is no result file in {arguments.results}")
    benchmarks, other = loaded(arguments.results), loaded(arguments.results / OTHER_FOLDER)
    check_machines(arguments.results, benchmarks)
    check_machines(arguments.results / OTHER_FOLDER, other)
    both = together(benchmarks, other)
    tables = all_tables(benchmarks, other, both)
    if not arguments.check and arguments.results.resolve() != FOLDER:
        measured = {name: made for name, made in tables.items() if made.replace(NOTHING, "").strip()}
        print("\n\n".join(f"{name}:\n\n{made}" for name, made in measured.items()))
        return
    new = {page: rendered(page.read_text(), tables) for page in PAGES}
    if arguments.check:
        differing = [page.name for page, text in new.items() if text != page.read_text()]
        if differing := [*differing, *stale(both, PLOTS)]:
            sys.exit(
                f"not what the result files say: {', '.join(differing)}; run python benchmarks/report.py"
            )
        return
    for page, text in new.items():
        page.write_text(text)
    draw(both, PLOTS)


if __name__ == "__main__":
    main()
