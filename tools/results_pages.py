"""Puts the results in docs/results/ into docs/results/README.md and the README.

Every folder there holds what `negmerge report RUN --out docs/results/NAME` wrote. Tables stand between
`<!-- results: NAME -->` and `<!-- end -->`; no figure there is written by hand.

    python tools/results_pages.py             # rewrite the tables
    python tools/results_pages.py --check     # fail if a table differs from the results
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from negmerge.report.cells import ABSENT, percent
from negmerge.report.matched_plot import draw_matched
from negmerge.results import Results
from negmerge.saved_results import read_results

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "results"
PAGES = (FOLDER / "README.md", ROOT / "README.md")
_SECTION = re.compile(r"(<!-- results: ([\w.-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(results: Results) -> str:
    """A Markdown table with a row per method: test accuracies, and the average gap where there is Retrain.

    Below it, what the choice of a coefficient and the pool rest on.
    """
    compared = any(results.average_gap(row) is not None for row in results.rows)
    base = results.rows[0]
    head = [
        *("method", "λ", "forget, test %", "retain, test %", "of the base's, %"),
        *(["average gap"] if compared else []),
    ]
    rows = [
        [
            row.title,
            ABSENT if row.coefficient is None else f"{row.coefficient:.3g}",
            percent(row.test.forget),
            percent(row.test.retain),
            percent(row.test.retain / base.test.retain),
            *([percent(results.average_gap(row), 2)] if compared else []),
        ]
        for row in results.rows
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{_basis(results)}"


def _basis(results: Results) -> str:
    images, base = results.images["validation"], results.rows[0].validation
    forget, retain = (
        _range([getattr(member.validation, part) for member in results.pool]) for part in ("forget", "retain")
    )
    return (
        f"Chosen on {images['forget']:,} images to forget and {images['retain']:,} to retain. There the "
        f"fine-tuned models are right on {forget} % of what is to be forgotten (the base: "
        f"{percent(base.forget)} %) and on {retain} % of what is to be retained ({percent(base.retain)} %)."
    )


def _range(shares: list[float]) -> str:
    return f"{percent(min(shares))} to {percent(max(shares))}"


def rendered(text: str, runs: dict[str, Results]) -> str:
    """A page with its tables made anew."""
    return _SECTION.sub(lambda found: f"{found[1]}\n{table(runs[found[2]])}\n\n{found[3]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if something would change")
    arguments = parser.parse_args()
    runs = {folder.name: read_results(folder) for folder in sorted(FOLDER.iterdir()) if folder.is_dir()}
    new = {page: rendered(page.read_text(encoding="utf-8"), runs) for page in PAGES}
    stale = [page for page, text in new.items() if text != page.read_text(encoding="utf-8")]
    if arguments.check:
        if stale:
            names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
            sys.exit(f"not what docs/results holds: {names}; run python tools/results_pages.py")
        return
    for page in stale:
        page.write_text(new[page], encoding="utf-8")
    for name, results in runs.items():
        draw_matched([results], FOLDER / name / "curves.png")


if __name__ == "__main__":
    main()
