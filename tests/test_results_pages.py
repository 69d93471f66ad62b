"""The pages say what docs/results holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from programs import import_path

TOOL = Path(__file__).resolve().parents[1] / "tools" / "results_pages.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, env={"PYTHONPATH": import_path()}, capture_output=True, text=True)


def test_pages_are_up_to_date() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr


def test_sections_are_made_anew() -> None:
    sys.path.insert(0, str(TOOL.parent))
    try:
        import results_pages
    finally:
        sys.path.remove(str(TOOL.parent))
    [folder, *_] = sorted(path for path in results_pages.FOLDER.iterdir() if path.is_dir())
    results = results_pages.read_results(folder)
    page = f"before\n<!-- results: {folder.name} -->\nstale\n<!-- end -->\nafter"
    made = results_pages.rendered(page, {folder.name: results})
    assert made == page.replace("stale", f"\n{results_pages.table(results)}\n")
    head, _, *rows, _, basis = results_pages.table(results).splitlines()
    assert [row.split(" | ")[0] for row in rows] == [f"| {row.title}" for row in results.rows]
    assert head.count("|") == rows[0].count("|")
    forget = [100 * member.validation.forget for member in results.pool]
    assert f"right on {min(forget):.1f} to {max(forget):.1f} %" in basis
