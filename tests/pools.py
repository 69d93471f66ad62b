"""A base and its fine-tuned models for tests: as arrays, as files, and merged by the oracle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import oracle
import safetensors.torch
from state_dicts import as_torch
from values import agreeing

from negmerge_ext import dtypes
from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.engine import stream
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan
from negmerge_ext.stats import MergeReport

Tensors = dict[str, np.ndarray]

#: More than two blocks of the kernel, less than one, a scalar, nothing, and an integer buffer in between.
SHAPES: dict[str, tuple[int, ...]] = {
    "embedding": (120, 300),
    "norm": (77,),
    "scale": (),
    "empty": (0, 5),
    "steps": (1000,),
    "head": (90, 250),
}
COPIED = ("steps",)


@dataclass(frozen=True)
class Pool:
    """base and finetuned: tensors by name. Names in ``copied`` are not merged."""

    base: Tensors
    finetuned: list[Tensors]
    copied: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return list(self.base)

    def expected(self, *, out_dtype: np.dtype | None = None, **options: Any) -> Tensors:
        """What the oracle makes of the pool."""
        return {
            name: theta
            if name in self.copied
            else oracle.merge(
                theta, [model[name] for model in self.finetuned], out_dtype=out_dtype, **options
            )
            for name, theta in self.base.items()
        }

    def save(self, folder: Path) -> tuple[Path, list[Path]]:
        """Write one safetensors file per model."""
        base = write_file(folder / "base.safetensors", self.base, {"format": "pt", "note": "as it was"})
        finetuned = [
            write_file(folder / f"finetuned-{k}.safetensors", model) for k, model in enumerate(self.finetuned)
        ]
        return base, finetuned


def make_pool(
    models: int,
    *,
    shapes: Mapping[str, tuple[int, ...]] = SHAPES,
    copied: Sequence[str] = COPIED,
    base_dtypes: Sequence[np.dtype] = (oracle.F32,),
    finetuned_dtypes: Sequence[np.dtype] = (oracle.F32,),
    seed: int = 0,
) -> Pool:
    """Weights whose updates often agree. Dtypes are dealt out in turn, to tensors and to models."""
    rng = np.random.default_rng(seed)
    base: Tensors = {}
    finetuned: list[Tensors] = [{} for _ in range(models)]
    for number, (name, shape) in enumerate(shapes.items()):
        if name in copied:
            base[name] = np.asarray(rng.integers(0, 2**40, shape))
            for model in finetuned:
                model[name] = base[name] + 1
            continue
        mix = tuple(finetuned_dtypes[(number + k) % len(finetuned_dtypes)] for k in range(models))
        base[name], updated = agreeing(rng, shape, base_dtypes[number % len(base_dtypes)], mix)
        for model, theta in zip(finetuned, updated, strict=True):
            model[name] = theta
    return Pool(base, finetuned, tuple(copied))


def write_file(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """Write a safetensors file with the format's own library."""
    safetensors.torch.save_file({name: as_torch(array) for name, array in tensors.items()}, path, metadata)
    return path


def read_file(path: Path) -> Tensors:
    """Read a safetensors file with the format's own library."""
    return {
        name: np.frombuffer(bytes(entry["data"]), _numpy(entry["dtype"])).reshape(entry["shape"])
        for name, entry in safetensors.deserialize(path.read_bytes())
    }


def read_metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, "numpy") as file:
        return dict(file.metadata())


def write_folder(folder: Path, shards: Mapping[str, Sequence[str]], tensors: Tensors) -> Path:
    """Write a sharded model: file names and the tensors in each."""
    folder.mkdir()
    for file, names in shards.items():
        write_file(folder / file, {name: tensors[name] for name in names}, {"format": "pt", "shard": file})
    weight_map = {name: file for file, names in shards.items() for name in names}
    index = {"metadata": {"total_size": 1, "maker": "a test"}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text('{"hidden_size": 300}')
    return folder


def read_folder(folder: Path) -> Tensors:
    """All tensors of a folder, by its index if it has one."""
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read_file(folder / "model.safetensors")
    weight_map = json.loads(index.read_text())["weight_map"]
    files = {file: read_file(folder / file) for file in set(weight_map.values())}
    assert sorted(weight_map) == sorted(name for tensors in files.values() for name in tensors)
    return {name: files[file][name] for name, file in weight_map.items()}


def merge_files(
    base: Path,
    finetuned: Sequence[Path],
    out: Path,
    *,
    max_memory: int | None = None,
    threads: int | None = None,
    device: int | None = None,
    progress: Any = False,
    options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> MergeReport:
    """Merge checkpoint files into ``out`` by way of the streaming engine."""
    source = open_checkpoint(base)
    plan = make_plan(source, map(open_checkpoint, finetuned), Options.parse(**(options or {})))
    return stream.merge_to_path(
        plan,
        source,
        out,
        stream.Settings(max_memory=max_memory, threads=threads, progress=progress, device=device),
        inputs=[str(base), *map(str, finetuned)],
        **settings,
    )


def assert_same(found: Tensors, expected: Tensors) -> None:
    """Same names and bits (any NaN equals any other)."""
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert (
            oracle.same_bits(found[name], array)
            if array.dtype.kind not in "iub"
            else (np.array_equal(found[name], array) and found[name].dtype == array.dtype)
        ), name


def _numpy(name: str) -> np.dtype:
    special = {
        "BF16": ml_dtypes.bfloat16,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E5M2": ml_dtypes.float8_e5m2,
    }
    return np.dtype(
        special.get(name) or {"F": "f", "I": "i", "U": "u"}[name[0]] + str(dtypes.BITS[name] // 8)
    )
