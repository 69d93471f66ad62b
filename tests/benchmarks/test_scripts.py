"""Every benchmark runs in its short form and writes samples that the report can use; no speed is asked."""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from programs import import_path
from report import NAMES
from reporting.cases import NOTHING, Benchmark
from reporting.gpu_tables import GPU_TABLES
from reporting.summary import speed, summary
from reporting.tables import TABLES

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
ROUNDS = 2
#: What each measures in every case.
VARIANTS = {
    "kernel": {"merge", "merge, new result", "merge, 1 thread", "read: 1 stream", "torch.stack"},
    "reading_order": {"merge", "in order", "in order, prefetch", "read: 1 stream"},
    "growth": {"merge"},
    "new_results": {"touched", "small pages", "huge pages, made before", "merge, new result"},
    "small_tensors": {"merge", "merge, new result"},
    "patch": {"copy", "first apply", "apply", "revert"},
    "startup": {"negmerge --help", "negmerge merge --help", "negmerge merge"},
    "out_of_core": {"merge"},
    "memory": set(),
    "peers": {"negmerge", "torch script", "torch.stack"},
    "fine_tuning": {"in turn", "at once"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_short_form(name: str, tmp_path: Path) -> None:
    out = tmp_path / "results" / f"{name}.json"
    command = [sys.executable, BENCHMARKS / f"{name}.py", "--quick", "--out", out]
    if name != "memory":
        command += ["--rounds", str(ROUNDS)]
    environment = {**os.environ, "PYTHONPATH": import_path()}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    document = json.loads(out.read_text())
    assert document["benchmark"] == name
    assert document["cases"]
    for case in document["cases"]:
        assert case["seconds"].keys() >= VARIANTS[name]
        assert all(len(samples) == ROUNDS for samples in case["seconds"].values())
        assert all(seconds > 0 for samples in case["seconds"].values() for seconds in samples)
        assert [document["runs"][run]["machine"]["cores"] > 0 for run in case["runs"]] == [True]
    for private in (str(tmp_path), str(BENCHMARKS), socket.gethostname(), f"/{getpass.getuser()}/"):
        assert private not in out.read_text()

    measured = {each: Benchmark.load(out.with_name(f"{each}.json")) for each in NAMES}
    for each, table in TABLES.items():
        assert each != name or table(measured) != NOTHING
    assert summary({"one": measured, "other": measured})
    assert speed({"one": measured, "other": measured})


def test_the_list_is_complete() -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - {"report"}
    assert scripts == set(NAMES) == {*VARIANTS, *GPU_TABLES}
    makefile = (BENCHMARKS.parent / "Makefile").read_text()
    for variable, names in (("BENCH", VARIANTS), ("GPU_BENCH", GPU_TABLES)):
        (line,) = (line for line in makefile.splitlines() if line.startswith(f"{variable} ?="))
        assert set(line.split()[2:]) == set(names)
