"""Dry runs: what they foretell is what a merge does, and they leave no trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pools import make_pool, merge_files, write_folder

from negmerge_ext.api import plan_merge
from negmerge_ext.checkpoint import preflight, writer
from negmerge_ext.checkpoint.finished import Finished
from negmerge_ext.engine import preparing
from negmerge_ext.engine.dry_run import DryRun
from negmerge_ext.errors import (
    DiskSpaceError,
    MemoryBudgetError,
    OptionError,
    OutputError,
    OutputExistsError,
    ResumeError,
)

SHARDS = {
    "model-00001-of-00002.safetensors": ["norm", "embedding"],
    "model-00002-of-00002.safetensors": ["head", "scale", "empty", "steps"],
}


def foretell(base: Path, finetuned: list[Path], out: Path, **options: Any) -> DryRun:
    return plan_merge(base, finetuned, out=out, scale=0.5, **options)


@pytest.mark.parametrize(("sharded", "verify"), [(True, False), (False, False), (False, True)])
def test_a_merge_does_what_was_foretold(sharded: bool, verify: bool, tmp_path: Path) -> None:
    pool = make_pool(3)
    base, finetuned = pool.save(tmp_path)
    if sharded:
        base = write_folder(tmp_path / "base", SHARDS, pool.base)
    out = tmp_path / ("out" if sharded else "out.safetensors")
    before = sorted(tmp_path.rglob("*"))
    foretold = foretell(base, finetuned, out, max_memory=20_000_000, verify=verify)
    assert sorted(tmp_path.rglob("*")) == before
    assert foretold.problems == ()
    steps: list[int] = []
    report = merge_files(
        base,
        finetuned,
        out,
        max_memory=20_000_000,
        options={"scale": 0.5},
        progress=lambda done, total: steps.append(total),
        verify=verify,
    )
    assert foretold.bytes_read == report.bytes_read == steps[0]
    assert foretold.bytes_written == foretold.disk_needed == report.bytes_written
    assert foretold.buffer_bytes == report.buffer_bytes < foretold.memory_bytes <= 20_000_000
    assert (foretold.merged, foretold.copied) == (len(report.merged), len(report.copied))
    assert foretold.chunks == len(steps) - (2 if verify else 1)
    assert [path for path, _ in foretold.outputs] == list(report.outputs)
    assert all(Path(path).stat().st_size == size for path, size in foretold.outputs)
    assert foretold.disk_free is not None


def test_it_is_plain_data(tmp_path: Path) -> None:
    foretold = foretell(*make_pool(2).save(tmp_path), tmp_path / "out.safetensors")
    plain = foretold.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["outputs"] == [{"path": str(tmp_path / "out.safetensors"), "bytes": foretold.bytes_written}]
    assert (plain["scale"], plain["mode"], plain["models"]) == (0.5, "negate", 2)


def test_problems_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make_pool(2).save(tmp_path)
    (tmp_path / "out.safetensors").write_bytes(b"old")
    monkeypatch.setattr(preflight, "free_bytes", lambda folder: 5)
    foretold = foretell(*paths, tmp_path / "out.safetensors", max_memory=1)
    kinds = [type(problem) for problem in foretold.problems]
    assert kinds == [OutputExistsError, DiskSpaceError, MemoryBudgetError]
    assert foretold.to_dict()["problems"] == [str(problem) for problem in foretold.problems]
    assert (foretold.disk_free, foretold.memory_bytes, foretold.chunks) == (5, 0, 0)


def test_a_missing_folder_is_a_problem(tmp_path: Path) -> None:
    foretold = foretell(*make_pool(2).save(tmp_path), tmp_path / "absent" / "out.safetensors")
    assert [type(problem) for problem in foretold.problems] == [OutputError]
    assert foretold.disk_free is None


def test_a_name_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError):
        foretell(*make_pool(2).save(tmp_path), tmp_path / "out.pt")


def test_what_a_merge_left_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, finetuned = make_pool(2).save(tmp_path)
    out = tmp_path / "out.safetensors"
    monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
    monkeypatch.setattr(writer.Writer, "publish", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        merge_files(base, finetuned, out, options={"scale": 0.5})
    before = sorted(tmp_path.rglob("*"))
    foretold = foretell(base, finetuned, out, resume=True)
    assert (foretold.resume, foretold.complete, foretold.problems) == (True, False, ())
    with pytest.raises(ResumeError):
        foretell(base, finetuned[:1], out, resume=True)
    assert sorted(tmp_path.rglob("*")) == before


def _interrupt(self: object) -> None:
    raise KeyboardInterrupt


def test_a_complete_output_leaves_nothing_to_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, finetuned = make_pool(2).save(tmp_path)
    out = tmp_path / "out.safetensors"
    monkeypatch.setattr(preparing, "find_finished", lambda output, plan, digest: Finished(np.zeros(0)))
    whole, complete = (foretell(base, finetuned, out, resume=resume) for resume in (False, True))
    assert (whole.complete, complete.complete) == (False, True)
    assert (complete.bytes_read, complete.bytes_written, complete.chunks, complete.disk_needed) == (0,) * 4
    assert foretell(base, finetuned, out, resume=True, verify=True).bytes_read == whole.bytes_read
