"""Result files: every sample of every case, and the runs that they come from."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .machine import commit, load, machine, niceness, versions

FOLDER = Path(__file__).resolve().parents[1] / "results"
#: What must be known of two runs, and the same, if their samples are to be of one case.
_PROVENANCE = ("commit", "machine", "versions", "niceness")


class Results:
    """A result file that cases are added to; it is written whenever one is, or never without a path.

    The file holds ``runs`` (command, date, commit, machine, versions, niceness, load averages before and
    after) and ``cases`` (``parameters`` that identify it, ``runs`` that measured it, ``facts``, ``seconds``
    by variant). A case that is measured again replaces the old one; with ``append`` its samples are added to
    the old ones if commit, machine, versions and niceness are known of both and the same; else the program
    ends. So it does at once for a file of another benchmark, or of its other form (quick: a smoke test), and
    for one that cannot be written.
    """

    def __init__(
        self, path: Path | None, benchmark: str, *, append: bool = False, quick: bool = False
    ) -> None:
        self.path = path
        self._append = append
        old: dict[str, Any] = {"runs": [], "cases": []}
        if path is not None:
            old = _old(path, benchmark, quick=quick)
        self._runs: list[dict[str, Any]] = old["runs"]
        self._cases: list[dict[str, Any]] = old["cases"]
        self._benchmark = benchmark
        self._run = {
            "command": _command(sys.argv),
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "commit": commit(),
            "machine": machine(),
            "versions": versions(),
            "niceness": niceness(),
            "load_before": load(),
        }
        self._runs.append(self._run)
        if append and self._cases and (why := _unknown(self._run)):
            raise SystemExit(f"{benchmark}: nothing can be appended, for of this run {why}")

    def add(
        self,
        parameters: Mapping[str, Any],
        seconds: Mapping[str, Sequence[float]],
        facts: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Put a case into the file and return it; times in seconds, to the microsecond's thousandth."""
        case: dict[str, Any] = {
            "parameters": dict(parameters),
            "runs": [len(self._runs) - 1],
            "facts": dict(facts or {}),
            "seconds": {name: [round(value, 9) for value in values] for name, values in seconds.items()},
        }
        old = next((each for each in self._cases if each["parameters"] == case["parameters"]), None)
        if old is not None:
            if self._append:
                case = self._joined(old, case)
            self._cases.remove(old)
        self._cases.append(case)
        self._run["load_after"] = load()
        if self.path is not None:
            self._write(self.path)
        return case

    def _joined(self, old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
        for run in (self._runs[index] for index in old["runs"]):
            case = f"{self._benchmark}: {new['parameters']}"
            if why := _unknown(run):
                raise SystemExit(
                    f"{case} was measured before, and of that {why}; measure it without --append"
                )
            if changed := [name for name in _PROVENANCE if run[name] != self._run[name]]:
                raise SystemExit(f"{case} was measured before, and {changed[0]} changed since")
        if set(old["seconds"]) != set(new["seconds"]):
            raise SystemExit(f"{self._benchmark}: {new['parameters']} was measured with other variants")
        return {
            **new,
            "runs": sorted({*old["runs"], *new["runs"]}),
            "seconds": {name: old["seconds"][name] + values for name, values in new["seconds"].items()},
        }

    def _write(self, path: Path) -> None:
        used = sorted({run for case in self._cases for run in case["runs"]})
        document = {
            "benchmark": self._benchmark,
            "runs": [self._runs[run] for run in used],
            "cases": [
                {**case, "runs": [used.index(run) for run in case["runs"]]}
                for case in sorted(self._cases, key=lambda case: _order(case["parameters"]))
            ],
        }
        with _replacing(path) as unfinished:
            unfinished.write_text(_text(document))
            unfinished.replace(path)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Within the block: where to write what is to become the file, which an interrupt leaves as it was."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
    except OSError as problem:
        raise SystemExit(f"{path} cannot be written: {problem.strerror}") from problem
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _old(path: Path, benchmark: str, *, quick: bool) -> dict[str, Any]:
    """What a file that is to be written has already."""
    with _replacing(path) as unfinished:
        unfinished.touch()
    if not path.exists():
        return {"runs": [], "cases": []}
    try:
        old = read(path)
        same = old["benchmark"] == benchmark
        forms = {"--quick" in run["command"].split() for run in old["runs"]}
    except (ValueError, TypeError, KeyError) as problem:
        raise SystemExit(f"{path} is there already, and no result file") from problem
    if not same:
        raise SystemExit(f"{path} has results of another benchmark, {old['benchmark']}")
    if forms - {quick}:
        raise SystemExit(f"{path} has results {'without' if quick else 'of'} --quick; give another --out")
    return old


def read(path: Path) -> dict[str, Any]:
    """A result file as plain data."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def _unknown(run: Mapping[str, Any]) -> str | None:
    """What is not known of a run, in words; two trees that differ from one commit may be any two."""
    if missing := [name for name in _PROVENANCE if run.get(name) is None]:
        return f"{missing[0]} is not recorded"
    return "files differed from the commit" if run["commit"]["changed"] else None


def _order(parameters: Mapping[str, Any]) -> list[tuple[str, float, str]]:
    """Sort by the parameters' names and values, numbers by size."""
    return [
        (name, value if isinstance(value, int | float) else 0.0, str(value))
        for name, value in parameters.items()
    ]


def _text(document: Mapping[str, Any]) -> str:
    """JSON with a line per list of numbers: samples are read as rows."""
    numbers: list[str] = []

    def fold(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: fold(each) for name, each in value.items()}
        if isinstance(value, list):
            if all(isinstance(each, int | float | str) for each in value):
                numbers.append(json.dumps(value))
                return f"\0{len(numbers) - 1}\0"
            return [fold(each) for each in value]
        return value

    text = json.dumps(fold(document), indent=1)
    for index, row in enumerate(numbers):
        text = text.replace(f'"\\u0000{index}\\u0000"', row)
    return text + "\n"


def _command(words: Sequence[str]) -> str:
    """The command that was given; of absolute paths only the last part, after ``…/``."""
    script = f"benchmarks/{Path(words[0]).name}"
    return " ".join(["python", script, *(f"…/{Path(w).name}" if w.startswith("/") else w for w in words[1:])])
