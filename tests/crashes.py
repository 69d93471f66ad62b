"""Merges that are killed: a program without threads, so that it may fork a process for each of them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from negmerge_ext.checkpoint import open_checkpoint, writer
from negmerge_ext.engine import budget, stream
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan
from negmerge_ext.stats import MergeReport

#: Everything in Python by which a merge changes the disk.
CALLS = ("pwrite", "fsync", "fdatasync", "rename", "replace", "unlink", "rmdir", "mkdir", "posix_fallocate")

Contents = dict[str, bytes]


def merge(folder: Path, out: Path, max_memory: int, *, resume: bool) -> MergeReport:
    """Merge the checkpoints in ``folder`` through small buffers, with a journal entry whenever it can be."""
    budget._RESERVE = budget._SCRATCH = budget._PER_MODEL = budget._PER_TENSOR = 0
    writer.JOURNAL_SECONDS = 0.0
    base = folder / ("base" if (folder / "base").is_dir() else "base.safetensors")
    finetuned = sorted(folder.glob("finetuned-*.safetensors"))
    source = open_checkpoint(base)
    return stream.merge_to_path(
        make_plan(source, map(open_checkpoint, finetuned), Options.parse()),
        source,
        out,
        stream.Settings(max_memory=max_memory, threads=2),
        inputs=[str(base), *map(str, finetuned)],
        overwrite=True,
        resume=resume,
    )


class Trial:
    """One merge, killed and resumed over and over. sizes: budgets; the first is used until a kill."""

    def __init__(self, folder: Path, out: Path, sizes: list[int], *, replaces: bool) -> None:
        self.folder, self.out, self.sizes = folder, out, sizes
        self._random = random.Random(str(out))
        reference, notes = folder / f"reference{out.suffix}", folder / "notes.json"

        def note() -> None:
            began = time.monotonic()
            report = merge(folder, reference, sizes[-1], resume=False)
            notes.write_text(json.dumps([time.monotonic() - began, repr(report.merged)]))

        assert run_forked(note)
        self.seconds, self.statistics = json.loads(notes.read_text())
        self.new = contents(reference)
        # As large as the new output and with the same header: only content tells them apart.
        self.old = {name: data[:-1] + b"?" for name, data in self.new.items()} if replaces else {}

    def restore(self) -> None:
        """The old output and nothing else."""
        shutil.rmtree(self.out.parent)
        self.out.parent.mkdir()
        for name, data in self.old.items():
            path = self.out / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (0, 0))

    def crash(self, number: int) -> bool:
        """Start over, to be killed at call ``number``; whether there were so many calls."""

        def work() -> None:
            kill_at_call(number)
            merge(self.folder, self.out, self.sizes[0], resume=False)

        self.restore()
        return not run_forked(work)

    def kill(self, *, resume: bool) -> bool:
        """Kill a merge after a random time; whether it was too late."""
        after = self._random.uniform(0, 2 * self.seconds)
        return run_forked(lambda: merge(self.folder, self.out, self.sizes[0], resume=resume), after)

    def check(self) -> None:
        """The old output or the new one is there, whole; then resume, and the new one is."""
        assert contents(self.out) in (self.old, self.new), "half an output"
        size = self._random.choice(self.sizes)

        def resume() -> None:
            report = merge(self.folder, self.out, size, resume=True)
            assert repr(report.merged) == self.statistics

        assert run_forked(resume)
        self.check_finished()

    def check_finished(self) -> None:
        assert contents(self.out) == self.new, "not what an undisturbed merge makes"
        assert [path.name for path in self.out.parent.iterdir()] == [self.out.name], "something was left"


def contents(out: Path) -> Contents:
    """All files of an output by name; a file that is an output itself has the name ''."""
    paths = [out] if out.is_file() else sorted(out.glob("*"))
    return {"" if path == out else path.name: path.read_bytes() for path in paths}


def kill_at_call(number: int) -> None:
    """Let this process be killed when it is about to make the :data:`CALLS` for the ``number``-th time."""
    left = number

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)
            return function(*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))


def run_forked(work: Callable[[], object], kill_after: float | None = None) -> bool:
    """Run ``work`` in a child process, killed after some seconds if asked; whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException as problem:
            print(repr(problem), file=sys.stderr, flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, "the merge failed"
        return True
    return False


def main() -> None:
    """Arguments: folder of checkpoints, output, 1 if there is an old one, which calls to be killed at (every
    how many), kills at random times, budgets."""
    folder, out, replaces, every, kills, *sizes = sys.argv[1:]
    trial = Trial(Path(folder), Path(out), [int(size) for size in sizes], replaces=replaces == "1")
    calls = 0
    while trial.crash(calls):
        trial.check()
        calls += int(every)
    for _ in range(int(kills)):
        trial.restore()
        trial.kill(resume=False)
        trial.check()
    trial.restore()
    turns = 1
    while not trial.kill(resume=True):
        turns += 1
    trial.check_finished()
    print(json.dumps({"calls": calls, "turns": turns}))


if __name__ == "__main__":
    main()
