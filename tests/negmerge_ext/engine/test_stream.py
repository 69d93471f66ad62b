"""Merging between files: equal to the oracle, whatever the budget, the threads, N and the formats."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import BF16, E4M3, E5M2, F16, F32, F64
from pools import (
    Pool,
    assert_same,
    make_pool,
    merge_files,
    read_file,
    read_folder,
    read_metadata,
    write_folder,
)
from programs import start_program
from state_dicts import as_torch
from strategies import dtype_mixes, shapes
from values import KINDS, fill

import negmerge_ext
from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.engine import stream
from negmerge_ext.errors import MemoryBudgetError
from negmerge_ext.in_memory.state_dict import StateDictSource
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan
from negmerge_ext.stats import MergeReport


def least_memory(base: Path, finetuned: Sequence[Path], folder: Path) -> int:
    """The smallest budget, by the word of the error that refuses less."""
    with pytest.raises(MemoryBudgetError) as caught:
        merge_files(base, finetuned, folder / "unwritten.safetensors", max_memory=1)
    [needed] = re.findall(r"needs (\d+)", str(caught.value))
    return int(needed)


def check_statistics(report: MergeReport, pool: Pool) -> None:
    assert {tensor.name for tensor in report.merged} == {n for n in pool.names if n not in pool.copied}
    for tensor in report.merged:
        theta = [model[tensor.name] for model in pool.finetuned]
        expected = oracle.statistics(pool.base[tensor.name], theta)
        assert (tensor.elements, tensor.kept, tensor.non_finite) == (
            expected.elements,
            expected.kept,
            expected.non_finite,
        )
        assert tensor.norm == expected.norm_exact
        assert tensor.max_abs == expected.max_abs


@pytest.mark.usefixtures("buffers_only")
@pytest.mark.parametrize("models", [1, 2, 30])
def test_every_budget_and_thread_count_gives_the_same_bytes(models: int, tmp_path: Path) -> None:
    """The smallest budget does not hold a whole tensor."""
    pool = make_pool(models)
    base, finetuned = pool.save(tmp_path)
    least = least_memory(base, finetuned, tmp_path)
    weights = sum(path.stat().st_size for path in (base, *finetuned))
    assert models == 1 or least < weights
    written, reports = set(), []
    for number, (memory, threads) in enumerate(
        [(least, 1), (least + 1, 3), (2 * least, 2), (5 * least, 1), (weights, 2), (None, 3)]
    ):
        out = tmp_path / f"out-{number}" / "model.safetensors"
        out.parent.mkdir()
        reports.append(merge_files(base, finetuned, out, max_memory=memory, threads=threads))
        written.add(out.read_bytes())
        assert memory is None or reports[-1].buffer_bytes <= memory
    assert len(written) == 1
    assert_same(read_file(out), pool.expected())
    assert len({report.merged for report in reports}) == 1
    check_statistics(reports[0], pool)


def test_the_budget_error_comes_before_anything_is_written(tmp_path: Path) -> None:
    base, finetuned = make_pool(2).save(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MemoryBudgetError, match="max_memory is 1000 bytes"):
        merge_files(base, finetuned, tmp_path / "out.safetensors", max_memory=1000)
    assert sorted(tmp_path.iterdir()) == before


@settings(max_examples=40)
@given(data=st.data())
def test_any_tensors_and_options(
    data: st.DataObject, buffers_only: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any dtypes and values, and so files with their tensors in different orders; small budgets."""
    models = data.draw(st.sampled_from([1, 2, 3, 7]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    pool = Pool({}, [{} for _ in range(models)], ())
    for number in range(data.draw(st.integers(1, 4))):
        kind, shape, mix = (
            data.draw(st.sampled_from(KINDS)),
            data.draw(shapes()),
            data.draw(dtype_mixes(models)),
        )
        pool.base[f"t{number}"], updated = fill(rng, kind, shape, *mix)
        for model, theta in zip(pool.finetuned, updated, strict=True):
            model[f"t{number}"] = theta
    folder = tmp_path_factory.mktemp("any")
    options = {
        "method": data.draw(st.sampled_from(["negmerge", "uniform"])),
        "mode": data.draw(st.sampled_from(["negate", "add", "vector"])),
        "scale": data.draw(st.sampled_from([1.0, 0.3, -2.5])),
    }
    out_dtype = data.draw(st.sampled_from([None, *oracle.DTYPES]))
    report = merge_files(
        *pool.save(folder),
        folder / "out.safetensors",
        max_memory=data.draw(st.sampled_from([2_000_000, 4_000_000, None])),
        options={**options, "out_dtype": out_dtype},
    )
    assert_same(read_file(folder / "out.safetensors"), pool.expected(out_dtype=out_dtype, **options))
    weights = (array for model in (pool.base, *pool.finetuned) for array in model.values())
    assert report.bytes_read == sum(array.nbytes for array in weights)


def test_mixed_dtypes_and_copied_tensors(tmp_path: Path) -> None:
    pool = make_pool(3, base_dtypes=(BF16, F32, F64, E4M3), finetuned_dtypes=(F32, BF16, F16, E5M2))
    paths = pool.save(tmp_path)
    merge_files(*paths, tmp_path / "out.safetensors")
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())
    merge_files(*paths, tmp_path / "half.safetensors", options={"out_dtype": "fp16"})
    assert_same(read_file(tmp_path / "half.safetensors"), pool.expected(out_dtype=F16))


def test_excluded_tensors_come_from_the_base(tmp_path: Path) -> None:
    pool = make_pool(2)
    excluded = Pool(pool.base, pool.finetuned, (*pool.copied, "embedding"))
    report = merge_files(*pool.save(tmp_path), tmp_path / "out.safetensors", options={"exclude": "embedding"})
    assert_same(read_file(tmp_path / "out.safetensors"), excluded.expected())
    assert set(report.copied) == {"embedding", "steps"}
    assert report.model_elements == sum(theta.size for theta in pool.base.values())


SHARDS = {
    "model-00001-of-00002.safetensors": ["norm", "embedding"],
    "model-00002-of-00002.safetensors": ["head", "scale", "empty", "steps"],
}


@pytest.mark.usefixtures("buffers_only")
@pytest.mark.parametrize("max_memory", [None, 2_000_000])
def test_a_sharded_base_with_unsharded_models(max_memory: int | None, tmp_path: Path) -> None:
    pool = make_pool(3)
    _, finetuned = pool.save(tmp_path)
    base = write_folder(tmp_path / "base", SHARDS, pool.base)
    out = tmp_path / "out"
    report = merge_files(base, finetuned, out, max_memory=max_memory, verify=True)
    assert_same(read_folder(out), pool.expected())
    assert {path.name for path in out.iterdir()} == {*SHARDS, "model.safetensors.index.json", "config.json"}
    assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: file for file, names in SHARDS.items() for name in names}
    assert index["metadata"] == {
        "maker": "a test",
        "total_size": sum(theta.nbytes for theta in pool.base.values()),
    }
    for file in SHARDS:
        metadata = read_metadata(out / file)
        assert (metadata["shard"], metadata["negmerge.models"]) == (file, "3")
    assert report.outputs == tuple(str(out / file) for file in sorted(SHARDS))
    assert report.verified


def test_an_unsharded_base_with_sharded_models(tmp_path: Path) -> None:
    pool = make_pool(2)
    base, [first, _] = pool.save(tmp_path)
    second = write_folder(tmp_path / "second", SHARDS, pool.finetuned[1])
    merge_files(base, [first, second], tmp_path / "out.safetensors")
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())


def test_a_sharded_base_into_one_file(tmp_path: Path) -> None:
    pool = make_pool(2)
    _, finetuned = pool.save(tmp_path)
    base = write_folder(tmp_path / "base", SHARDS, pool.base)
    merge_files(base, finetuned, tmp_path / "out.safetensors")
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())


@pytest.mark.usefixtures("buffers_only")
@pytest.mark.parametrize("max_memory", [None, 2_500_000])
def test_torch_files_with_transposed_views(max_memory: int | None, tmp_path: Path) -> None:
    pool = make_pool(2)
    paths = []
    for number, model in enumerate([pool.base, *pool.finetuned]):
        stored = {name: as_torch(array) for name, array in model.items()}
        for name in ("embedding", "head"):
            stored[name] = as_torch(np.ascontiguousarray(model[name].T)).T
        stored["steps"] = torch.stack([stored["steps"], stored["steps"]], 1)[:, 0]
        torch.save(stored, tmp_path / f"{number}.pt")
        paths.append(tmp_path / f"{number}.pt")
    merge_files(paths[0], paths[1:], tmp_path / "out.safetensors", max_memory=max_memory)
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())
    assert read_metadata(tmp_path / "out.safetensors")["format"] == "pt"


@pytest.mark.parametrize("held", [0, 40])
def test_more_models_than_files_may_be_open(held: int, tmp_path: Path) -> None:
    """Also where the program holds most of what it may open itself."""
    pool = make_pool(300, shapes={"a": (30, 40), "b": (7,), "n": (3,)}, copied=["n"])
    pool.save(tmp_path)
    program = """
import resource, sys
from pathlib import Path
from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.engine import stream
from negmerge_ext.options import Options
from negmerge_ext.plan import make_plan
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
folder = Path(sys.argv[1])
held = [open("/dev/null") for _ in range(int(sys.argv[2]))]
models = [folder / f"finetuned-{k}.safetensors" for k in range(300)]
source = open_checkpoint(folder / "base.safetensors")
plan = make_plan(source, map(open_checkpoint, models), Options.parse())
inputs = ["base", *map(str, models)]
stream.merge_to_path(plan, source, folder / "out.safetensors", stream.Settings(threads=8), inputs=inputs)
"""
    process = start_program(program, str(tmp_path), str(held))
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())


@pytest.mark.usefixtures("buffers_only")
def test_many_models_in_groups(tmp_path: Path) -> None:
    """So many that a thread reads them in groups, and that a chunk has few pieces."""
    pool = make_pool(90, shapes={"a": (2, 20_000), "b": (50,), "n": (3,)}, copied=["n"])
    base, finetuned = pool.save(tmp_path)
    written = set()
    for max_memory in (220_000, 600_000, None):
        merge_files(base, finetuned, tmp_path / "out.safetensors", max_memory=max_memory, overwrite=True)
        written.add((tmp_path / "out.safetensors").read_bytes())
    assert len(written) == 1
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())


class TestMemorySources:
    """State dicts and files mixed, and results made in memory."""

    def test_files_into_memory(self, tmp_path: Path) -> None:
        pool = make_pool(3)
        base, finetuned = pool.save(tmp_path)
        plan = make_plan(open_checkpoint(base), map(open_checkpoint, finetuned), Options.parse())
        result = {tensor.name: np.empty_like(pool.base[tensor.name]) for tensor in plan.tensors}
        addresses = np.array([array.ctypes.data for array in result.values()])
        report = stream.merge_into_memory(plan, addresses, stream.Settings())
        assert_same(result, pool.expected())
        check_statistics(report, Pool(result | pool.base, pool.finetuned, pool.copied))

    def test_a_base_in_memory_in_place(self, tmp_path: Path) -> None:
        pool = make_pool(3)
        expected = pool.expected()
        _, finetuned = pool.save(tmp_path)
        base = StateDictSource(pool.base, "base")
        plan = make_plan(base, map(open_checkpoint, finetuned), Options.parse())
        stream.merge_into_memory(plan, base.rows(pool.names).address, stream.Settings())
        assert_same(pool.base, expected)

    @pytest.mark.parametrize("model", [0, 1, 2])
    @pytest.mark.parametrize("transposed", [False, True])
    def test_a_model_in_memory_takes_the_result(self, model: int, transposed: bool, tmp_path: Path) -> None:
        """It must not be written, not even with the base's elements, before it is merged."""
        pool = make_pool(3, shapes={"w": (300, 500), "b": (50,)})
        expected = pool.expected()
        stored = {name: torch.from_numpy(array) for name, array in pool.base.items()}
        if transposed:
            stored["w"] = stored["w"].T.contiguous().T
        torch.save(stored, tmp_path / "base.pt")
        out = pool.finetuned[model]
        assert negmerge_ext.merge(tmp_path / "base.pt", pool.finetuned, out=out, max_memory="24MiB") is out
        assert_same(out, expected)

    def test_tensors_at_address_zero_are_left_out(self, tmp_path: Path) -> None:
        pool = make_pool(2)
        base, finetuned = pool.save(tmp_path)
        plan = make_plan(open_checkpoint(base), map(open_checkpoint, finetuned), Options.parse())
        result = {tensor.name: np.zeros_like(pool.base[tensor.name]) for tensor in plan.tensors}
        addresses = [
            0 if name in ("embedding", "steps") else array.ctypes.data for name, array in result.items()
        ]
        stream.merge_into_memory(plan, np.array(addresses), stream.Settings())
        assert not result["embedding"].any()
        assert not result["steps"].any()
        assert oracle.same_bits(result["head"], pool.expected()["head"])

    def test_memory_and_files_into_a_file(self, tmp_path: Path) -> None:
        pool = make_pool(3)
        _, finetuned = pool.save(tmp_path)
        base = StateDictSource(pool.base, "base")
        before = {name: array.copy() for name, array in pool.base.items()}
        models = [StateDictSource(pool.finetuned[0], "a"), *map(open_checkpoint, finetuned[1:])]
        plan = make_plan(base, models, Options.parse())
        out = tmp_path / "out.safetensors"
        labels = ["base", "finetuned[0]", *map(str, finetuned[1:])]
        report = stream.merge_to_path(plan, base, out, stream.Settings(), inputs=labels, verify=True)
        assert_same(read_file(out), pool.expected())
        assert_same(pool.base, before)
        metadata = read_metadata(out)
        size = sum(theta.nbytes for name, theta in pool.finetuned[0].items() if name != "steps")
        assert json.loads(metadata["negmerge.finetuned"]) == [
            ["finetuned[0]", size],
            *([path.name, path.stat().st_size] for path in finetuned[1:]),
        ]
        on_disk = sum(theta.nbytes for name, theta in pool.base.items() if name != "steps")
        assert report.bytes_read == 2 * 2 * on_disk, "two models on disk, read once and once to verify"


@pytest.mark.usefixtures("buffers_only")
@pytest.mark.parametrize("max_memory", [None, 2_500_000])
def test_inspecting_counts_agreement_and_reads_what_is_merged(max_memory: int | None, tmp_path: Path) -> None:
    pool = make_pool(12)
    base, finetuned = pool.save(tmp_path)
    plan = make_plan(open_checkpoint(base), map(open_checkpoint, finetuned), Options.parse())
    report = stream.inspect(plan, stream.Settings(max_memory=max_memory))
    check_statistics(report, pool)
    for tensor in report.merged:
        theta = [model[tensor.name] for model in pool.finetuned]
        assert tensor.agreement == tuple(oracle.agreement(pool.base[tensor.name], theta))
    merged = sum(theta.nbytes for name, theta in pool.base.items() if name not in pool.copied)
    assert report.bytes_read == 13 * merged
    assert (report.outputs, report.bytes_written) == ((), 0)


def test_a_model_without_elements(tmp_path: Path) -> None:
    pool = make_pool(2, shapes={"a": (0,), "b": (3, 0)})
    merge_files(*pool.save(tmp_path), tmp_path / "out.safetensors")
    assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())


def test_the_base_metadata_is_kept_and_provenance_added(tmp_path: Path) -> None:
    pool = make_pool(2, shapes={"a": (5,)})
    base, finetuned = pool.save(tmp_path)
    out = tmp_path / "out.safetensors"
    merge_files(base, finetuned, out, options={"scale": 0.25, "mode": "add"})
    metadata = read_metadata(out)
    assert (metadata["format"], metadata["note"]) == ("pt", "as it was")
    assert (metadata["negmerge.method"], metadata["negmerge.mode"]) == ("negmerge", "add")
    assert (metadata["negmerge.scale"], metadata["negmerge.models"]) == ("0.25", "2")
    assert json.loads(metadata["negmerge.base"]) == ["base.safetensors", base.stat().st_size]
    # A merged model as base: its provenance gives way to that of the new merge.
    merge_files(out, finetuned, tmp_path / "twice.safetensors")
    again = read_metadata(tmp_path / "twice.safetensors")
    assert json.loads(again["negmerge.base"])[0] == "out.safetensors"
    assert again["note"] == "as it was"
    assert again.keys() == metadata.keys()


def test_the_same_files_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    outputs = []
    for name in ("here", "there"):
        folder = tmp_path / name
        folder.mkdir()
        merge_files(*make_pool(2).save(folder), folder / "out.safetensors")
        outputs.append((folder / "out.safetensors").read_bytes())
    assert outputs[0] == outputs[1]
