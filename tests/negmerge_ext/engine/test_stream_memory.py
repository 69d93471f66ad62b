"""Peak memory of merges in processes of their own, held against ``max_memory``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from programs import start_program
from safetensors.numpy import load_file

from negmerge_ext.checkpoint.safetensors import build_header

_PROGRAM = """
import sys
from pathlib import Path
import negmerge_ext.engine.stream as stream
from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan

def peak():
    # Unlike ru_maxrss, this starts anew when a process begins a program.
    status = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

folder, models, max_memory = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
task, suffix = sys.argv[4:]
if suffix == ".pt":
    import negmerge_ext.checkpoint.torch_file  # torch itself is no part of the merge
before = peak()
if models:
    base = open_checkpoint(folder / f"base{suffix}")
    finetuned = [folder / f"{k}{suffix}" for k in range(models)]
    plan = make_plan(base, map(open_checkpoint, finetuned), Options.parse())
    settings = stream.Settings(max_memory=max_memory, threads=2)
    if task == "merge":
        inputs = ["base", *map(str, finetuned)]
        stream.merge_to_path(plan, base, folder / "out.safetensors", settings, inputs=inputs, verify=True)
    else:
        stream.inspect(plan, settings)
print(peak() - before)
"""


def save_zeros(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A checkpoint of zeros that takes no room on the disk."""
    layout = build_header([(name, "F32", shape) for name, shape in shapes.items()])
    with path.open("wb") as file:
        file.write(layout.header)
        file.truncate(layout.size)


def peak_memory(
    folder: Path, models: int, max_memory: int, task: str = "merge", suffix: str = ".safetensors"
) -> int:
    process = start_program(_PROGRAM, str(folder), str(models), str(max_memory), task, suffix)
    found, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return int(found)


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")


@needs_proc
@pytest.mark.parametrize(
    ("models", "task", "max_memory", "shapes"),
    [
        (2, "merge", 16 << 20, {"larger than the budget": (9_000, 1_000)}),
        (2, "merge", 32 << 20, {f"layer.{i}.weight": (300, 1_000) for i in range(30)}),
        (30, "merge", 24 << 20, {"large": (1_500, 1_000), **{f"bias.{i}": (512,) for i in range(400)}}),
        (30, "inspect", 16 << 20, {"large": (1_500, 1_000), **{f"bias.{i}": (512,) for i in range(400)}}),
        (300, "inspect", 20 << 20, {"large": (100, 1_000), **{f"bias.{i}": (64,) for i in range(100)}}),
    ],
)
def test_peak_memory_stays_below_max_memory(
    models: int, task: str, max_memory: int, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    save_zeros(tmp_path / "base.safetensors", shapes)
    for model in range(models):
        save_zeros(tmp_path / f"{model}.safetensors", shapes)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 2 * max_memory
    assert peak_memory(tmp_path, models, max_memory, task) <= max_memory


@needs_proc
def test_tensors_stored_in_another_order_take_no_more(tmp_path: Path) -> None:
    values = np.arange(12_000_000, dtype=np.float32).reshape(4000, 3000)
    for name, added in (("base", 0), ("0", 1), ("1", 3)):
        torch.save({"transposed": torch.from_numpy(values + added).T}, tmp_path / f"{name}.pt")
    assert peak_memory(tmp_path, 2, 24 << 20, suffix=".pt") <= 24 << 20
    assert np.array_equal(load_file(tmp_path / "out.safetensors")["transposed"], values.T - 2)
