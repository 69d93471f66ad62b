"""The pages say what docs/results holds."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from negmerge.errors import DataError
from programs import import_path

TOOL = Path(__file__).resolve().parents[1] / "tools" / "results_pages.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)


def test_pages_are_up_to_date() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def results_pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TOOL.parent))
    return importlib.import_module("results_pages")


def test_sections_are_made_anew(results_pages: ModuleType) -> None:
    [folder, *_] = sorted(path.parent for path in results_pages.FOLDER.glob("*/results.json"))
    results = results_pages.read_results(folder)
    page = f"before\n<!-- results: {folder.name} -->\nstale\n<!-- end -->\nafter"
    made = results_pages.rendered(page, {folder.name: results})
    assert made == page.replace("stale", f"\n{results_pages.table([results])}\n")
    head, _, *rows, _, basis = results_pages.table([results]).splitlines()
    assert [row.split(" | ")[0] for row in rows] == [f"| {row.title}" for row in results.rows]
    assert head.count("|") == rows[0].count("|")
    forget = [100 * member.validation.forget for member in results.pool]
    least, most = f"{min(forget):.1f}", f"{max(forget):.1f}"
    assert (
        f"right on {least if least == most else f'{least} to {most}'} % of what is to be forgotten" in basis
    )


def test_several_runs_have_one_table(results_pages: ModuleType) -> None:
    [folder, *_] = sorted(path.parent for path in results_pages.FOLDER.glob("*/results.json"))
    one = results_pages.read_results(folder)
    base, *rows = one.rows
    worse = [replace(row, test=replace(row.test, forget=row.test.forget + 0.02)) for row in rows]
    other = replace(one, rows=(base, *worse), recipe={**one.recipe, "seed": 17})
    page = "<!-- results: both = a b -->\nstale\n<!-- end -->"
    assert results_pages.sections(page) == {"both": ["a", "b"]}
    made = results_pages.rendered(page, {"a": one, "b": other}).splitlines()
    assert made[0] == "<!-- results: both = a b -->"
    (shown,) = (line for line in made if line.startswith(f"| {rows[-1].title} "))
    assert shown.split(" | ")[1] == f"{100 * rows[-1].test.forget + 1:.1f} ± 1.4"
    assert any("over seeds 0, 17" in line for line in made)
    with pytest.raises(DataError, match="two runs have seed 0"):
        results_pages.table([one, one])
