"""kill -9 at every moment: the old output is intact, and resuming gives the bytes of an undisturbed merge."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pools import make_pool, write_folder
from programs import start_program

SHAPES = {"embedding": (150, 300), "norm": (77,), "steps": (1000,), "head": (90, 250)}
SHARDS = {
    "model-00001-of-00002.safetensors": ["embedding", "norm"],
    "model-00002-of-00002.safetensors": ["head", "steps"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that can be had: hundreds of syncs take their time on a disk."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as name:
        yield Path(name)


@pytest.mark.parametrize(("kind", "replaces", "every"), [("file", 1, 1), ("folder", 1, 1), ("folder", 0, 3)])
def test_killed_at_any_moment(kind: str, replaces: int, every: int, folder: Path) -> None:
    pool = make_pool(2, shapes=SHAPES)
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir()
    outputs.mkdir()
    pool.save(inputs)
    if kind == "folder":
        write_folder(inputs / "base", SHARDS, pool.base)
    out = outputs / ("out" if kind == "folder" else "out.safetensors")
    budgets = ("220000", "600000", "9000000")
    program = "import crashes; crashes.main()"
    process = start_program(program, str(inputs), str(out), str(replaces), str(every), "6", *budgets)
    found, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert json.loads(found)["calls"] > 15
