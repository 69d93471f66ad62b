"""Writing reports to files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..results import Results
from ..run_folder import RunFolder, appearing_complete, write_json
from ..saliency import read_saliency
from .page import comparison_markdown, comparison_page, run_markdown, run_page
from .runs import check_comparable, matched_over_runs


def write_report(folder: RunFolder, results: Results, out: Path | None = None) -> list[Path]:
    """Write the report of a run as HTML and Markdown, into its folder or to ``out``; return the files.

    Takes what the folder recorded: no checkpoint is read.
    """
    recipe_text = _recipe_text(folder)
    page = run_page(results, recipe_text, read_saliency(folder))
    markdown = run_markdown(results, recipe_text)
    place = RunFolder(folder.root if out is None else out)
    _write(place.page, page)
    _write(place.markdown, markdown)
    if out is None:
        return [place.page, place.markdown]
    write_json(place.results, results.to_dict())
    return [place.page, place.markdown, place.results]


def write_comparison(folders: Sequence[RunFolder], runs: Sequence[Results], out: Path) -> list[Path]:
    """Write the report that compares several runs as HTML, Markdown and JSON into the folder ``out``.

    Raises :class:`~negmerge.errors.DataError` unless their recipes differ in name and seed only.
    """
    check_comparable(runs)
    recipe_text = _recipe_text(folders[0])
    place = RunFolder(out)
    _write(place.page, comparison_page(runs, recipe_text))
    _write(place.markdown, comparison_markdown(runs, recipe_text))
    path = out / "report.json"
    write_json(path, compared(folders, runs))
    return [place.page, place.markdown, path]


def compared(folders: Sequence[RunFolder], runs: Sequence[Results]) -> dict[str, Any]:
    """The comparison of several runs as plain data."""
    methods = [asdict(method) for method in matched_over_runs(runs)]
    return {"runs": [str(folder.root) for folder in folders], "methods": methods}


def _recipe_text(folder: RunFolder) -> str:
    try:
        return folder.recipe.read_text(encoding="utf-8")
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    with appearing_complete(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
