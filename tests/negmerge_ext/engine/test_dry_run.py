"""Dry runs: what they foretell is what a merge does, and they leave no trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pools import make_pool, merge_files, write_folder

from negmerge_ext.checkpoint import open_checkpoint, preflight
from negmerge_ext.engine.dry_run import DryRun, dry_run
from negmerge_ext.engine.stream import Settings
from negmerge_ext.errors import (
    DiskSpaceError,
    MemoryBudgetError,
    OptionError,
    OutputError,
    OutputExistsError,
)
from negmerge_ext.plan import Options, make_plan

SHARDS = {
    "model-00001-of-00002.safetensors": ["norm", "embedding"],
    "model-00002-of-00002.safetensors": ["head", "scale", "empty", "steps"],
}


def foretell(base: Path, finetuned: list[Path], out: Path, max_memory: int | None = None) -> DryRun:
    source = open_checkpoint(base)
    plan = make_plan(source, map(open_checkpoint, finetuned), Options.parse(scale=0.5))
    return dry_run(
        plan, source, out, Settings(max_memory=max_memory), inputs=[str(base), *map(str, finetuned)]
    )


@pytest.mark.parametrize("sharded", [True, False])
def test_a_merge_does_what_was_foretold(sharded: bool, tmp_path: Path) -> None:
    pool = make_pool(3)
    base, finetuned = pool.save(tmp_path)
    if sharded:
        base = write_folder(tmp_path / "base", SHARDS, pool.base)
    out = tmp_path / ("out" if sharded else "out.safetensors")
    before = sorted(tmp_path.rglob("*"))
    foretold = foretell(base, finetuned, out, 20_000_000)
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
    )
    assert foretold.bytes_read == report.bytes_read == steps[0]
    assert foretold.bytes_written == foretold.disk_needed == report.bytes_written
    assert foretold.buffer_bytes == report.buffer_bytes < foretold.memory_bytes <= 20_000_000
    assert (foretold.merged, foretold.copied) == (len(report.merged), len(report.copied))
    assert foretold.chunks == len(steps) - 1
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
