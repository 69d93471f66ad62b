"""Puts the results in docs/results/ into docs/results/README.md and the README.

Every folder there holds what `negmerge report RUN --out docs/results/NAME` wrote, or of several seeds
`negmerge report RUN RUN … --out docs/results/NAME`. Tables stand between `<!-- results: NAME -->` or
`<!-- results: NAME = RUN RUN … -->` and `<!-- end -->`; no figure there is written by hand.

    python tools/results_pages.py             # rewrite the tables, and draw curves.png of every folder
    python tools/results_pages.py --check     # fail if a table differs from the results
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from negmerge.metrics.matched_retain import LEVELS
from negmerge.report.cells import ABSENT, percent, spread_cell
from negmerge.report.matched_plot import draw_matched
from negmerge.report.runs import check_comparable, matched_over_runs
from negmerge.results import Results
from negmerge.saved_results import read_results

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "results"
PAGES = (FOLDER / "README.md", ROOT / "README.md")
_SECTION = re.compile(r"(<!-- results: ([\w.-]+)(?: = ([\w. -]+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def table(runs: Sequence[Results]) -> str:
    """What a section shows of one run, or of several that differ in their seed."""
    return of_one(runs[0]) if len(runs) == 1 else of_several(runs)


def of_several(runs: Sequence[Results]) -> str:
    """A Markdown table with a row per method: means and standard deviations over the runs."""
    check_comparable(runs)
    head = [
        "method",
        f"forget, {runs[0].forget_split} %",
        "retain, test %",
        "forget, validation %: area",
        "at 95 % of the base's retain",
    ]
    rows = [
        [
            method.title,
            *(spread_cell(each, 100, 1) for each in (method.test_forget, method.test_retain, method.area)),
            spread_cell(method.at[LEVELS.index(0.95)], 100, 1),
        ]
        for method in matched_over_runs(runs)
    ]
    seeds = ", ".join(str(results.recipe["seed"]) for results in runs)
    base = runs[0].rows[0].test
    return (
        f"{_markdown(head, rows)}\n\nMean ± sample standard deviation over seeds {seeds}. The base: forget"
        f" {percent(base.forget)} %, retain {percent(base.retain)} %. Area: mean of the lowest forget"
        " accuracy while 95 to 100 % of the base's retain accuracy are kept."
    )


def of_one(results: Results) -> str:
    """A Markdown table with a row per method: test accuracies, the lowest forget accuracy on validation at
    95 % of the base's retain accuracy, and the average gap where there is Retrain.

    Below it, what the choice of a coefficient and the pool rest on.
    """
    compared = any(results.average_gap(row) is not None for row in results.rows)
    base = results.rows[0]
    head = [
        *(
            "method",
            "λ",
            f"forget, {results.forget_split} %",
            "retain, test %",
            "of the base's, %",
            "forget at 95 %",
        ),
        *(["average gap"] if compared else []),
    ]
    rows = [
        [
            row.title,
            ABSENT if row.coefficient is None else f"{row.coefficient:.3g}",
            percent(row.test.forget),
            percent(row.test.retain),
            percent(row.test.retain / base.test.retain),
            ABSENT if row is base else percent(results.matched(row).at[LEVELS.index(0.95)]),
            *([percent(results.average_gap(row), 2)] if compared else []),
        ]
        for row in results.rows
    ]
    return f"{_markdown(head, rows)}\n\n{_basis(results)}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _basis(results: Results) -> str:
    images, base = results.images["validation"], results.rows[0].validation
    forget, retain = (
        _range([getattr(member.validation, part) for member in results.pool if member.validation is not None])
        for part in ("forget", "retain")
    )
    kind = "training images" if results.forgets_training_images else "images"
    return (
        "Forget at 95 %: lowest on validation while 95 % of the base's retain accuracy are kept, on straight"
        f" lines between the coefficients tried: {_tried(results.recipe['search'])}. "
        f"Chosen on {images['forget']:,} {kind} to forget and {images['retain']:,} to retain. There the "
        f"fine-tuned models are right on {forget} % of what is to be forgotten (the base: "
        f"{percent(base.forget)} %) and on {retain} % of what is to be retained ({percent(base.retain)} %)."
    )


def _tried(search: Mapping[str, Any]) -> str:
    """Where a recipe's search looks for coefficients."""
    others = [
        *(["beyond if need be"] if search["limit"] > 1 else []),
        *(["around the best"] if search["refinements"] else []),
    ]
    return ", ".join(
        [f"{search['points']} from 0 to 1", *([f"others {' and '.join(others)}"] if others else [])]
    )


def _range(shares: list[float]) -> str:
    return " to ".join(dict.fromkeys(map(percent, (min(shares), max(shares)))))


def sections(text: str) -> dict[str, list[str]]:
    """The folders that a page shows, and the runs in each."""
    return {found[2]: _runs_in(found) for found in _SECTION.finditer(text)}


def _runs_in(section: re.Match[str]) -> list[str]:
    """Those that are named, or the one that is in the folder itself."""
    return (section[3] or section[2]).split()


def rendered(text: str, runs: dict[str, Results]) -> str:
    """A page with its tables made anew."""

    def section(found: re.Match[str]) -> str:
        shown = table([runs[name] for name in _runs_in(found)])
        return f"{found[1]}\n{shown}\n\n{found[4]}"

    return _SECTION.sub(section, text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    arguments = parser.parse_args()
    runs = {path.parent.name: read_results(path.parent) for path in sorted(FOLDER.glob("*/results.json"))}
    new = {page: rendered(page.read_text(encoding="utf-8"), runs) for page in PAGES}
    stale = [page for page, text in new.items() if text != page.read_text(encoding="utf-8")]
    if arguments.check:
        if stale:
            names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
            sys.exit(f"not what docs/results holds: {names}; run python tools/results_pages.py")
        return
    for page in stale:
        page.write_text(new[page], encoding="utf-8")
    # A folder that both pages show is drawn once.
    for name, shown in sections("".join(new.values())).items():
        draw_matched([runs[each] for each in shown], FOLDER / name / "curves.png")


if __name__ == "__main__":
    main()
