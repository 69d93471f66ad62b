"""``Patch.apply_to_file``: what a merge into files writes, from the base and the patch alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from oracle import BF16, E5M2, F16, F32, F64
from pools import Pool, Tensors, make_pool, read_file, read_folder, read_metadata, write_folder
from state_dicts import as_torch, laid_out

from negmerge_ext import Patch, merge
from negmerge_ext.engine import budget
from negmerge_ext.errors import (
    MemoryBudgetError,
    OptionError,
    OutputExistsError,
    PatchMismatchError,
    SourceChangedError,
)


@pytest.fixture(scope="module")
def pool() -> Pool:
    return make_pool(3, base_dtypes=(BF16, F32, F64, F32, E5M2), finetuned_dtypes=(F32, F16))


@pytest.fixture(scope="module")
def patch(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Patch:
    return Patch.make(pool.base, pool.finetuned, out=tmp_path_factory.mktemp("patch") / "forget.patch")


@pytest.fixture
def base(pool: Pool, tmp_path: Path) -> Path:
    return pool.save(tmp_path)[0]


def assert_equal(found: Tensors, expected: Tensors) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert oracle.same_bits(found[name], array), name


@pytest.mark.parametrize("out_dtype", [None, F32, BF16, F64])
@pytest.mark.parametrize(("scale", "mode"), [(0.7, "negate"), (-2.0, "add")])
def test_equals_the_oracle(
    scale: float, mode: str, out_dtype: np.dtype | None, pool: Pool, patch: Patch, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "merged.safetensors"
    name = None if out_dtype is None else out_dtype.name
    report = patch.apply_to_file(base, out, scale=scale, mode=mode, out_dtype=name)
    assert_equal(read_file(out), pool.expected(scale=scale, mode=mode, out_dtype=out_dtype))
    assert (report.scale, report.mode, report.models, report.kept) == (scale, mode, 3, patch.kept)
    assert report.outputs == (str(out),)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_every_budget_and_thread_count_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(2, shapes={"large": (411, 517), "copied": (70_001,), "small": (5,)}, copied=("copied",))
    base, _ = pool.save(tmp_path)
    patch = Patch.make(pool.base, pool.finetuned)
    for name in ("_RESERVE", "_PER_MODEL", "_PER_TENSOR"):
        monkeypatch.setattr(budget, name, 0)
    with pytest.raises(MemoryBudgetError, match=r"needs \d+") as caught:
        patch.apply_to_file(base, tmp_path / "none.safetensors", max_memory=1)
    least = int(str(caught.value).split("needs ")[1].split(".")[0])
    assert least < base.stat().st_size
    written = set()
    for number, (memory, threads) in enumerate([(least, 1), (least + 4096, 3), (2 * least, 2), (None, 1)]):
        out = tmp_path / f"{number}" / "merged.safetensors"
        out.parent.mkdir()
        report = patch.apply_to_file(base, out, max_memory=memory, threads=threads)
        assert memory is None or report.buffer_bytes <= memory
        written.add(out.read_bytes())
    assert len(written) == 1
    assert_equal(read_file(out), pool.expected())


def test_folders_keep_their_shards_and_companions(pool: Pool, patch: Patch, tmp_path: Path) -> None:
    shards = {"model-1-of-2.safetensors": pool.names[3:], "model-2-of-2.safetensors": pool.names[:3]}
    base = write_folder(tmp_path / "base", shards, pool.base)
    finetuned = pool.save(tmp_path)[1]
    patch.apply_to_file(base, tmp_path / "patched", scale=0.5)
    merge(base, finetuned, out=tmp_path / "merged", scale=0.5)
    assert_equal(read_folder(tmp_path / "patched"), pool.expected(scale=0.5))
    names = sorted(path.name for path in (tmp_path / "merged").iterdir())
    assert sorted(path.name for path in (tmp_path / "patched").iterdir()) == names
    for name in ("model.safetensors.index.json", "config.json"):
        assert (tmp_path / "patched" / name).read_bytes() == (tmp_path / "merged" / name).read_bytes()


def test_reads_torch_files_with_strided_tensors(pool: Pool, patch: Patch, tmp_path: Path) -> None:
    state = {name: as_torch(laid_out(array, "transposed")) for name, array in pool.base.items()}
    torch.save(state, tmp_path / "base.pt")
    patch.apply_to_file(tmp_path / "base.pt", tmp_path / "merged.safetensors", scale=0.5)
    assert_equal(read_file(tmp_path / "merged.safetensors"), pool.expected(scale=0.5))


def test_records_where_the_weights_come_from(pool: Pool, base: Path, tmp_path: Path) -> None:
    uniform = Patch.make(pool.base, pool.finetuned, method="uniform")
    uniform.apply_to_file(base, tmp_path / "merged.safetensors", scale=0.25)
    recorded = read_metadata(tmp_path / "merged.safetensors")
    assert recorded["note"] == "as it was"
    assert recorded["negmerge.method"] == "uniform"
    assert recorded["negmerge.scale"] == "0.25"
    assert recorded["negmerge.models"] == "3"
    assert "negmerge.digest" not in recorded, "it identifies a merge, of which a patch does not know enough"
    assert json.loads(recorded["negmerge.base"]) == ["base.safetensors", base.stat().st_size]
    assert [name for name, _ in json.loads(recorded["negmerge.finetuned"])] == [
        f"finetuned[{k}]" for k in range(3)
    ]


@pytest.mark.parametrize("name", ["embedding", "scale", "empty"])
def test_refuses_another_base_and_leaves_nothing(name: str, pool: Pool, patch: Patch, tmp_path: Path) -> None:
    tensors = {key: array.copy() for key, array in pool.base.items()}
    if tensors[name].size:
        tensors[name][...] += 1
    else:
        tensors[name] = np.zeros((1, 5), F32)
    base, _ = Pool(tensors, [], pool.copied).save(tmp_path)
    with pytest.raises(PatchMismatchError, match=name):
        patch.apply_to_file(base, tmp_path / "merged.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["base.safetensors"]


def test_names_every_tensor_that_does_not_fit(pool: Pool, patch: Patch, tmp_path: Path) -> None:
    tensors = {key: np.zeros(array.shape, F16) for key, array in pool.base.items() if key != "norm"}
    base, _ = Pool(tensors, [], ()).save(tmp_path)
    with pytest.raises(PatchMismatchError) as caught:
        patch.apply_to_file(base, tmp_path / "merged.safetensors")
    assert {problem.tensor for problem in caught.value.problems} == {tensor.name for tensor in patch.tensors}


def test_a_patch_file_that_changed_is_noticed(pool: Pool, base: Path, tmp_path: Path) -> None:
    path = tmp_path / "forget.patch"
    patch = Patch.make(pool.base, pool.finetuned, out=path)
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:-8])
    with pytest.raises(SourceChangedError, match=r"forget\.patch"):
        patch.apply_to_file(base, tmp_path / "merged.safetensors")
    assert not (tmp_path / "merged.safetensors").exists()


def test_refuses_to_overwrite_unless_told(pool: Pool, patch: Patch, base: Path) -> None:
    before = base.read_bytes()
    with pytest.raises(OutputExistsError):
        patch.apply_to_file(base, base)
    with pytest.raises(OptionError):
        patch.apply_to_file(base, base, mode="vector", overwrite=True)
    assert base.read_bytes() == before
    patch.apply_to_file(base, base, overwrite=True)
    assert_equal(read_file(base), pool.expected())


def test_reports_progress(patch: Patch, base: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = patch.apply_to_file(
        base, tmp_path / "merged.safetensors", progress=lambda done, total: seen.append((done, total))
    )
    assert seen == sorted(seen)
    assert seen[-1] == (report.bytes_read, report.bytes_read)
