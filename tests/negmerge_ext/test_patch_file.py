"""Patch files: written in one pass whatever the budget, readable by others, and never believed."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from oracle import BF16, F16, F32, F64
from pools import Pool, make_pool, write_folder
from state_dicts import as_numpy

from negmerge_ext import Patch
from negmerge_ext.engine import budget, patch_making
from negmerge_ext.errors import (
    CheckpointError,
    InputError,
    MemoryBudgetError,
    OutputError,
    OutputExistsError,
    SourceChangedError,
)

Header = dict[str, Any]


@pytest.fixture(scope="module")
def pool() -> Pool:
    return make_pool(3, base_dtypes=(BF16, F32, F64, F32), finetuned_dtypes=(F32, F16))


@pytest.fixture(scope="module")
def patch_file(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("patch") / "forget.patch"
    Patch.make(pool.base, pool.finetuned, out=path)
    return path


def apply_and_check(patch: Patch, pool: Pool) -> None:
    model = {name: array.copy() for name, array in pool.base.items()}
    patch.apply(model, 0.6)
    for name, array in pool.expected(scale=0.6).items():
        assert oracle.same_bits(as_numpy(model[name]), array), name


def read_header(path: Path) -> tuple[Header, bytes]:
    content = path.read_bytes()
    [length] = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_header(path: Path, header: Header, data: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def rewritten(source: Path, path: Path, change: Callable[[Header, Any], None]) -> Path:
    """A copy of a patch file with its header and description changed."""
    header, data = read_header(source)
    description = json.loads(header["__metadata__"]["negmerge.patch"])
    change(header, description)
    if "__metadata__" in header:
        header["__metadata__"]["negmerge.patch"] = json.dumps(description)
    write_header(path, header, data)
    return path


def test_round_trip(pool: Pool, patch_file: Path, tmp_path: Path) -> None:
    made = Patch.make(pool.base, pool.finetuned)
    loaded = Patch.load(patch_file)
    assert loaded.describe() == made.describe()
    apply_and_check(loaded, pool)
    for number, patch in enumerate((made, loaded)):
        patch.save(tmp_path / f"{number}.patch")
        assert (tmp_path / f"{number}.patch").read_bytes() == patch_file.read_bytes()


def test_the_safetensors_library_reads_it(pool: Pool, patch_file: Path) -> None:
    header, _ = read_header(patch_file)
    stored = safetensors.numpy.load_file(patch_file)
    for name in pool.names:
        if name in pool.copied:
            assert f"keep/{name}" not in stored
            continue
        vector, keep = oracle.task_vector(pool.base[name], [model[name] for model in pool.finetuned])
        bits = np.unpackbits(stored[f"keep/{name}"], bitorder="little")
        assert np.array_equal(bits[: keep.size], keep.reshape(-1))
        assert not bits[keep.size :].any()
        assert oracle.same_bits(stored[f"values/{name}"], vector[keep])
        assert header[f"values/{name}"]["data_offsets"][0] % 8 == 0


def sections(path: Path) -> dict[str, bytes]:
    """The bytes of every section without the padding, which depends on the order of the tensors."""
    header, data = read_header(path)
    header.pop("__metadata__")
    found = {name: data[slice(*entry["data_offsets"])] for name, entry in header.items()}
    return {name: part.rstrip(b"\0") if name.startswith("keep/") else part for name, part in found.items()}


@pytest.mark.parametrize("source", ["files", "folder", "memory"])
def test_every_budget_thread_count_and_source_gives_the_same_bytes(
    source: str, pool: Pool, patch_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_RESERVE", "_PER_MODEL", "_PER_TENSOR"):
        monkeypatch.setattr(budget, name, 0)
    base: Any = pool.base
    finetuned: Any = pool.finetuned
    if source != "memory":
        base, finetuned = pool.save(tmp_path)
    if source == "folder":
        shards = {"model-1-of-2.safetensors": pool.names[:3], "model-2-of-2.safetensors": pool.names[3:]}
        base = write_folder(tmp_path / "base", shards, pool.base)
    with pytest.raises(MemoryBudgetError, match=r"needs \d+") as caught:
        Patch.make(base, finetuned, out=tmp_path / "small.patch", max_memory=1)
    assert not list(tmp_path.glob("*small*"))
    least = int(str(caught.value).split("needs ")[1].split(".")[0])
    for number, (memory, threads) in enumerate([(least, 1), (2 * least, 3), (None, 2)]):
        out = tmp_path / f"{number}.patch"
        Patch.make(base, finetuned, out=out, max_memory=memory, threads=threads)
        assert sections(out) == sections(patch_file)


def test_refuses_to_overwrite_and_writes_at_once(
    pool: Pool, patch_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = Patch.load(patch_file)
    out = tmp_path / "out.patch"
    out.write_text("old")
    with pytest.raises(OutputExistsError, match=r"out\.patch"):
        patch.save(out)
    with pytest.raises(OutputExistsError, match=r"out\.patch"):
        Patch.make(pool.base, pool.finetuned, out=out)
    with pytest.raises(OutputError, match="folder"):
        patch.save(tmp_path)
    with pytest.raises(OutputError, match="does not exist"):
        patch.save(tmp_path / "nowhere" / "out.patch")
    with monkeypatch.context() as context:
        context.setattr(os, "fsync", failing)
        with pytest.raises(OutputError, match="Input/output error"):
            patch.save(out, overwrite=True)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.patch"]
    before = os.umask(0o027)
    try:
        patch.save(out, overwrite=True)
    finally:
        os.umask(before)
    assert out.read_bytes() == patch_file.read_bytes()
    assert out.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["out.patch"]


def failing(_: int) -> None:
    raise OSError(5, "Input/output error")


def test_may_replace_the_file_it_reads_from(pool: Pool, patch_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.patch"
    path.write_bytes(patch_file.read_bytes())
    Patch.load(path).save(path, overwrite=True)
    apply_and_check(Patch.load(path), pool)


def test_notices_a_file_that_changed_after_it_was_loaded(
    pool: Pool, patch_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "changing.patch"
    path.write_bytes(patch_file.read_bytes())
    patch = Patch.load(path)
    os.truncate(path, 1000)
    model = {name: array.copy() for name, array in pool.base.items()}
    with pytest.raises(SourceChangedError, match=r"changing\.patch"):
        patch.apply(model)


def drop(key: str) -> Callable[[Header, Any], None]:
    return lambda header, description: header.pop(key)


def describe_as(key: str, value: object) -> Callable[[Header, Any], None]:
    return lambda header, description: description.update({key: value})


def tensor_as(key: str, value: object) -> Callable[[Header, Any], None]:
    return lambda header, description: description["tensors"][0].update({key: value})


def entry_as(name: str, **values: object) -> Callable[[Header, Any], None]:
    return lambda header, description: header[name].update(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("__metadata__"), "not a patch"),
        (describe_as("version", 2), "version 2"),
        (describe_as("version", True), "version True"),
        (describe_as("method", 3), "'method'"),
        (describe_as("finetuned", []), "no fine-tuned model"),
        (describe_as("finetuned", {}), "'finetuned'"),
        (describe_as("base", "base"), "base is not an object"),
        (describe_as("model_elements", 5), "more patched elements"),
        (describe_as("model_bytes", -1), "'model_bytes'"),
        (describe_as("tensors", []), "no tensor"),
        (describe_as("tensors", ["embedding"]), r"tensors\[0\] is not an object"),
        (lambda header, description: description["tensors"].append(description["tensors"][0]), "twice"),
        (lambda header, description: description["tensors"].pop(), "does not name"),
        (tensor_as("name", "nothing"), "no keep section"),
        (tensor_as("dtype", "I64"), "cannot be patched"),
        (tensor_as("dtype", "F64"), "do not fit F64"),
        (tensor_as("compute", "F16"), "'F16'"),
        (tensor_as("shape", [120, 301]), "keep section"),
        (tensor_as("shape", [2**40, 2**40]), "'shape'"),
        (tensor_as("shape", [-1]), "'shape'"),
        (tensor_as("shape", "12"), "'shape'"),
        (tensor_as("kept", 0), "values section"),
        (tensor_as("kept", 36001), "counts more"),
        (tensor_as("kept", 1.0), "'kept'"),
        (tensor_as("non_finite", 36001), "counts more"),
        (tensor_as("norm", "-0x1p+0"), "'norm'"),
        (tensor_as("norm", 1.0), "'norm'"),
        (tensor_as("max_abs", "0x1p+99999"), "'max_abs'"),
        (tensor_as("sha256", "0" * 63), "'sha256'"),
        (tensor_as("sha256", "G" * 64), "'sha256'"),
        (entry_as("values/embedding", dtype="I32"), "values section"),
        (entry_as("keep/embedding", dtype="I8"), "keep section"),
    ],
)
def test_refuses_descriptions_that_do_not_fit(
    change: Callable[[Header, Any], None], message: str, patch_file: Path, tmp_path: Path
) -> None:
    path = rewritten(patch_file, tmp_path / "bad.patch", change)
    with pytest.raises(CheckpointError, match=message) as caught:
        Patch.load(path)
    assert "bad.patch" in str(caught.value)


def test_refuses_a_description_that_is_not_json(patch_file: Path, tmp_path: Path) -> None:
    header, data = read_header(patch_file)
    for text in ("", "{", "[]", '{"version": NaN}', "[" * 100_000):
        header["__metadata__"]["negmerge.patch"] = text
        write_header(tmp_path / "bad.patch", header, data)
        with pytest.raises(CheckpointError, match="patch description"):
            Patch.load(tmp_path / "bad.patch")


@pytest.mark.parametrize(("byte", "bit"), [(0, 1), (-1, 0x80)])
def test_refuses_keep_bits_that_do_not_match(byte: int, bit: int, patch_file: Path, tmp_path: Path) -> None:
    """One bit more or less among the elements, or one set behind the last of 77."""
    header, data = read_header(patch_file)
    begin, _ = header["keep/norm"]["data_offsets"]
    changed = bytearray(data)
    changed[begin + (byte if byte >= 0 else 9)] ^= bit
    write_header(tmp_path / "bad.patch", header, bytes(changed))
    with pytest.raises(CheckpointError, match="'norm'"):
        Patch.load(tmp_path / "bad.patch")


@given(data=st.data())
def test_survives_any_change_of_bytes(data: st.DataObject, pool: Pool, patch_file: Path) -> None:
    content = bytearray(patch_file.read_bytes())
    [length] = struct.unpack("<Q", content[:8])
    where = st.one_of(st.integers(0, 8 + length - 1), st.integers(0, len(content) - 1))
    for position in data.draw(st.lists(where, min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path = patch_file.with_name("changed.patch")
    path.write_bytes(content)
    try:
        patch = Patch.load(path)
    except CheckpointError:
        return
    model = {name: array.copy() for name, array in pool.base.items()}
    before = {name: array.tobytes() for name, array in model.items()}
    try:
        patch.apply(model)
        patch.revert(model)
    except InputError:
        pass
    assert {name: array.tobytes() for name, array in model.items()} == before


def test_a_checkpoint_is_not_a_patch(pool: Pool, tmp_path: Path) -> None:
    base, _ = pool.save(tmp_path)
    with pytest.raises(CheckpointError, match="not a patch"):
        Patch.load(base)
    with pytest.raises(CheckpointError, match="does not exist"):
        Patch.load(tmp_path / "none.patch")


def test_a_failed_merge_leaves_nothing(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(patch_making.PatchSink, "write", broken)
    with pytest.raises(OSError, match="No space"):
        Patch.make(pool.base, pool.finetuned, out=tmp_path / "out.patch")
    assert not list(tmp_path.iterdir())
