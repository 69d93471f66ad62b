"""Accumulators that are saved and loaded: the bits of one that never was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import BF16, F32, F64
from pools import Pool, make_pool
from safetensors import safe_open
from state_dicts import as_numpy
from strategies import Case, cases

from negmerge_ext import Accumulator, merge
from negmerge_ext.errors import (
    CheckpointError,
    OutputError,
    OutputExistsError,
    PatchMismatchError,
    PoolError,
)

SHAPES = {"weight": (40, 50), "bias": (50,), "scale": (), "empty": (0, 3), "steps": (4,)}


def interrupted(pool: Pool, place: Path, after: int, **options: Any) -> Accumulator:
    """All models added, saved and loaded after the first of them."""
    accumulator = Accumulator(pool.base, **options)
    for model in pool.finetuned[:after]:
        accumulator.add(model)
    accumulator.save(place, overwrite=True)
    del accumulator
    loaded = Accumulator.load(place, pool.base)
    assert loaded.models == after
    for model in pool.finetuned[after:]:
        loaded.add(model)
    return loaded


@settings(max_examples=60)
@given(case=cases(largest=3_000), data=st.data())
def test_equals_the_oracle_wherever_it_was_cut(
    case: Case, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    early = [case.base, case.finetuned[0]]
    if oracle.compute_dtype(early) != oracle.compute_dtype([*early, *case.finetuned]):
        return  # an accumulator refuses it, saved or not
    pool = Pool({"x": case.base}, [{"x": theta} for theta in case.finetuned], ())
    after = data.draw(st.integers(1, len(case.finetuned)))
    place = tmp_path_factory.mktemp("sums") / "state.safetensors"
    accumulator = interrupted(pool, place, after, method=case.method)
    merged = accumulator.finish(scale=case.scale, mode=case.mode, out_dtype=case.out_dtype.name)
    assert oracle.same_bits(as_numpy(merged["x"]), case.expected()), case.about


@pytest.mark.parametrize(
    "method", ["negmerge", "uniform", "conflict", "magmax", "ties:density=0.4,per=model"]
)
def test_patch_and_statistics_are_those_of_one_that_was_not_saved(tmp_path: Path, method: str) -> None:
    pool = make_pool(4, shapes=SHAPES)
    plain = Accumulator(pool.base, method)
    for model in pool.finetuned:
        plain.add(model)
    saved = interrupted(pool, tmp_path / "state", 2, method=method)
    assert repr(saved.stats().merged) == repr(plain.stats().merged)
    assert saved.patch().describe() == plain.patch().describe()
    merged = merge(pool.base, pool.finetuned, method=method)
    assert all(oracle.same_bits(as_numpy(saved.finish()[name]), as_numpy(merged[name])) for name in merged)


def test_patterns_come_along(tmp_path: Path) -> None:
    pool = make_pool(3, shapes=SHAPES)
    saved = interrupted(pool, tmp_path / "state", 1, include=["w*", "b*"], exclude="bias")
    merged = merge(pool.base, pool.finetuned, include=["w*", "b*"], exclude="bias")
    assert all(oracle.same_bits(as_numpy(saved.finish()[name]), as_numpy(merged[name])) for name in merged)


def test_sums_in_double_of_models_whose_base_is_not(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    base = {
        "a": random.standard_normal(40).astype(np.float32),
        "b": random.standard_normal(9).astype(np.float32),
    }
    models = [
        {"a": random.standard_normal(40), "b": random.standard_normal(9).astype(np.float32)} for _ in range(3)
    ]
    pool = Pool(base, models, ())
    saved, merged = interrupted(pool, tmp_path / "state", 2), merge(base, models)
    assert all(oracle.same_bits(as_numpy(saved.finish()[name]), as_numpy(merged[name])) for name in merged)


def test_file_is_a_safetensors_file(tmp_path: Path) -> None:
    pool = make_pool(2, shapes=SHAPES)
    interrupted(pool, tmp_path / "state", 2)
    with safe_open(tmp_path / "state", framework="numpy") as opened:
        assert opened.get_tensor("values/weight").shape == (40 * 50,)
        assert opened.get_tensor("values/scale").dtype == np.float32
        assert json.loads(opened.metadata()["negmerge.accumulator"])["method"] == "negmerge"
    assert [path.name for path in tmp_path.iterdir()] == ["state"], "nothing else is left"


def test_another_base_is_refused(tmp_path: Path) -> None:
    pool = make_pool(2, shapes=SHAPES)
    interrupted(pool, tmp_path / "state", 1)
    other = {name: array.copy() for name, array in pool.base.items()}
    other["weight"][3, 4] += 1
    with pytest.raises(PatchMismatchError, match="from another base"):
        Accumulator.load(tmp_path / "state", other)
    missing = {name: array for name, array in pool.base.items() if name != "bias"}
    with pytest.raises(PatchMismatchError, match="from another base"):
        Accumulator.load(tmp_path / "state", missing)


def test_nothing_to_save(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="no fine-tuned model was added"):
        Accumulator({"x": np.ones(3, np.float32)}).save(tmp_path / "state")


def test_what_is_there_stays(tmp_path: Path) -> None:
    pool = make_pool(1, shapes=SHAPES)
    accumulator = Accumulator(pool.base)
    accumulator.add(pool.finetuned[0])
    (tmp_path / "state").write_text("mine")
    with pytest.raises(OutputExistsError):
        accumulator.save(tmp_path / "state")
    assert (tmp_path / "state").read_text() == "mine"
    with pytest.raises(OutputError, match="is a folder"):
        accumulator.save(tmp_path, overwrite=True)
    accumulator.save(tmp_path / "state", overwrite=True)
    assert Accumulator.load(tmp_path / "state", pool.base).models == 1


def damaged(content: bytes, how: str) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    text = json.loads(header["__metadata__"]["negmerge.accumulator"])
    if how == "short":
        return content[:-1]
    if how == "other file":
        header["__metadata__"] = {}
    elif how == "version":
        text["version"] = 99
    elif how == "no models":
        text["inputs"] = text["inputs"][:1]
    elif how == "wrong types":
        text["inputs"] = [1, 2]
    elif how == "fewer digests":
        text["fingerprints"] = text["fingerprints"][:-1]
    elif how == "not JSON":
        text = None
    if how != "other file":
        header["__metadata__"]["negmerge.accumulator"] = "{" if text is None else json.dumps(text)
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    return len(new).to_bytes(8, "little") + new + content[8 + length :]


@pytest.mark.parametrize(
    "how", ["short", "other file", "version", "no models", "wrong types", "fewer digests", "not JSON"]
)
def test_a_damaged_file_is_refused(tmp_path: Path, how: str) -> None:
    pool = make_pool(2, shapes=SHAPES)
    interrupted(pool, tmp_path / "state", 2)
    (tmp_path / "state").write_bytes(damaged((tmp_path / "state").read_bytes(), how))
    with pytest.raises(CheckpointError):
        Accumulator.load(tmp_path / "state", pool.base)


@pytest.mark.parametrize("dtype", [F32, F64, BF16])
def test_a_sum_of_another_type_than_the_base_asks_for_is_refused(tmp_path: Path, dtype: np.dtype) -> None:
    """A base that was converted has other bytes; one of the same bytes has the same types."""
    pool = make_pool(1, shapes={"w": (8,)})
    interrupted(pool, tmp_path / "state", 1)
    converted = {"w": pool.base["w"].astype(dtype)}
    if converted["w"].dtype == pool.base["w"].dtype:
        assert Accumulator.load(tmp_path / "state", converted).models == 1
    else:
        with pytest.raises(PatchMismatchError):
            Accumulator.load(tmp_path / "state", converted)
