"""Trimmed merges from end to end: in memory, between files, model by model and on devices the same bits."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from method_oracles.ties import threshold_of
from oracle import BF16, E4M3, F16, F32, F64
from pools import Pool, Tensors, assert_same, make_pool, merge_files, read_file, read_metadata
from stand_in_devices import StandInDevices
from state_dicts import as_torch

import negmerge_ext
from negmerge_ext import Accumulator, Patch, inspect, merge, native_cuda
from negmerge_ext.api import plan_merge
from negmerge_ext.checkpoint import writer
from negmerge_ext.errors import MemoryBudgetError
from negmerge_ext.methods import get

#: Dtypes of base and models; the last has tensors computed in fp64 beside others in fp32.
MIXES = [((F32,), (F32,)), ((BF16,), (BF16,)), ((F16, E4M3), (BF16, F32)), ((F32, F64), (F32,))]
SPECS = ["ties", "ties:density=0.05", "ties:density=1", "ties:density=0.3,per=tensor"]


def limits(pool: Pool, spec: str) -> dict[str, list[float]]:
    """The thresholds of each tensor in each model, by sorting all differences in fp64."""
    trim = get(spec).trim
    assert trim is not None
    names = [name for name in pool.names if name not in pool.copied and pool.base[name].size > 0]
    vectors = {n: oracle.deltas(pool.base[n], [model[n] for model in pool.finetuned]) for n in names}
    found: dict[str, list[float]] = {name: [] for name in pool.names}
    for model in range(len(pool.finetuned)):
        flat = {name: vectors[name][model].astype(F64).reshape(-1) for name in names}
        whole = threshold_of(np.concatenate(list(flat.values())), trim.density)
        for name in pool.names:
            alone = trim.per == "tensor" and name in flat
            found[name].append(threshold_of(flat[name], trim.density) if alone else whole)
    return found


def expected(pool: Pool, spec: str, **options: Any) -> Tensors:
    thresholds = limits(pool, spec)
    return {
        name: theta
        if name in pool.copied
        else oracle.merge(
            theta, [m[name] for m in pool.finetuned], method="ties", limits=thresholds[name], **options
        )
        for name, theta in pool.base.items()
    }


def state_dict(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name: as_torch(array.copy()) for name, array in tensors.items()}


def arrays(state: dict[str, torch.Tensor], like: Tensors) -> Tensors:
    return {
        name: np.frombuffer(bytes(value.contiguous().view(torch.uint8).numpy()), like[name].dtype).reshape(
            like[name].shape
        )
        if value.numel()
        else like[name]
        for name, value in ((n, v.reshape(1) if v.ndim == 0 else v) for n, v in state.items())
    }


@pytest.fixture(params=range(len(MIXES)), ids=lambda number: f"mix{number}")
def pool(request: pytest.FixtureRequest) -> Pool:
    base_dtypes, dtypes = MIXES[request.param]
    return make_pool(4, base_dtypes=base_dtypes, finetuned_dtypes=dtypes, seed=request.param)


@pytest.mark.parametrize("spec", SPECS)
def test_in_memory(pool: Pool, spec: str) -> None:
    merged = merge(
        state_dict(pool.base), [state_dict(m) for m in pool.finetuned], method=spec, scale=0.7, mode="add"
    )
    assert_same(arrays(merged, pool.base), expected(pool, spec, scale=0.7, mode="add"))


@pytest.mark.parametrize("spec", SPECS)
def test_between_files_in_little_memory(pool: Pool, spec: str, tmp_path: Path) -> None:
    base, finetuned = pool.save(tmp_path)
    wanted = expected(pool, spec, scale=0.7)
    options = {"method": spec, "scale": 0.7}
    for memory, threads in ((11_000_000, 1), (None, 2)):
        out = tmp_path / f"{memory}.safetensors"
        merge_files(base, finetuned, out, max_memory=memory, threads=threads, options=options, verify=True)
        assert_same(read_file(out), wanted)
    assert read_file(out).keys() == wanted.keys()


def test_densities_count_as_the_papers_code_does() -> None:
    """int(D·K) + 1 entries and those equal to the smallest of them are left."""
    rng = np.random.default_rng(0)
    base, tuned = np.zeros(1000, F32), rng.normal(size=1000).astype(F32)
    tuned[17] = -tuned[3]
    merged = merge({"w": base}, [{"w": tuned}], method="ties:density=0.2", mode="vector")["w"]
    order = np.sort(np.abs(tuned))[::-1]
    assert np.array_equal(merged != 0, np.abs(tuned) >= order[200])
    assert (merged != 0).sum() in (201, 202)
    assert np.array_equal(merged[merged != 0], tuned[merged != 0])


def test_a_hand_computed_case() -> None:
    base = {"w": np.zeros(5, F32)}
    pool = [
        {"w": np.array([5, -4, 3, 1, 2], F32)},
        {"w": np.array([3, 6, -3, 2, 1], F32)},
        {"w": np.array([-1, 2, 5, 4, -6], F32)},
    ]
    # Two of five and the threshold itself are left: |δ| ≥ 3, 3 and 4.
    merged = merge(base, pool, method="ties:density=0.4", mode="vector")["w"]
    assert merged.tolist() == [4.0, 6.0, 4.0, 4.0, -6.0]


def test_sums_that_cancel_elect_nothing() -> None:
    base = {"w": np.array([1.0, 1.0], F32)}
    pool = [{"w": np.array([2.0, 3.0], F32)}, {"w": np.array([0.0, 2.0], F32)}]
    merged = merge(base, pool, method="ties:density=1", mode="vector")["w"]
    assert merged.tolist() == [0.0, 1.5]


@pytest.mark.parametrize("spec", SPECS)
def test_model_by_model(spec: str) -> None:
    pool = make_pool(3, base_dtypes=(F32, BF16), finetuned_dtypes=(F32, BF16))
    accumulator = Accumulator(state_dict(pool.base), method=spec)
    for model in pool.finetuned:
        accumulator.add(state_dict(model))
    assert_same(arrays(accumulator.finish(scale=0.7), pool.base), expected(pool, spec, scale=0.7))
    patched = state_dict(pool.base)
    accumulator.patch().apply(patched, scale=0.7)
    assert_same(arrays(patched, pool.base), expected(pool, spec, scale=0.7))


def test_compute_types_of_a_pool_hold_for_each_of_its_models() -> None:
    pool = make_pool(2, finetuned_dtypes=(F32,))
    pool.finetuned[0]["norm"] = pool.finetuned[0]["norm"].astype(F64)
    accumulator = Accumulator(state_dict(pool.base), method="ties")
    for model in pool.finetuned:
        accumulator.add(state_dict(model))
    assert_same(arrays(accumulator.finish(), pool.base), expected(pool, "ties"))


def test_patches(tmp_path: Path) -> None:
    pool = make_pool(3)
    base, finetuned = pool.save(tmp_path)
    for patch in (
        Patch.make(base, finetuned, method="ties:density=0.1"),
        Patch.make(base, finetuned, method=get("ties").with_(density=0.1), out=tmp_path / "patch"),
    ):
        assert patch.method == "ties:density=0.1,per=model"
        model = state_dict(pool.base)
        patch.apply(model, scale=0.7)
        assert_same(arrays(model, pool.base), expected(pool, "ties:density=0.1", scale=0.7))


def test_tensors_that_are_stored_in_another_order(tmp_path: Path) -> None:
    pool = make_pool(3)
    base, models = state_dict(pool.base), [state_dict(model) for model in pool.finetuned]
    for number, state in enumerate((base, *models)):
        if number != 1:
            state["embedding"] = state["embedding"].t().contiguous().t()
    wanted = expected(pool, "ties", scale=0.7)
    merged = merge(base, models, method="ties", scale=0.7)
    assert_same(arrays(merged, pool.base), wanted)
    paths = []
    for number, state in enumerate((base, *models)):
        paths.append(tmp_path / f"{number}.pt")
        torch.save(state, paths[-1])
    merge(paths[0], paths[1:], out=tmp_path / "out.safetensors", method="ties", scale=0.7)
    assert_same(read_file(tmp_path / "out.safetensors"), wanted)


@pytest.mark.parametrize("where", ["embedding norm scale empty steps head", "embedding", "norm head"])
def test_on_devices(devices: StandInDevices, where: str, tmp_path: Path) -> None:
    pool = make_pool(3)
    names = where.split()

    def placed(tensors: Tensors) -> dict[str, torch.Tensor]:
        state = state_dict(tensors)
        return {n: devices.put(v, 1) if n in names else v for n, v in state.items()}

    base, models = placed(pool.base), [placed(model) for model in pool.finetuned]
    wanted = expected(pool, "ties", scale=0.7)
    found = merge(base, models, method="ties", scale=0.7)
    assert_same(arrays({n: v.cpu() for n, v in found.items()}, pool.base), wanted)
    accumulator = Accumulator(base, method="ties")
    for model in models:
        accumulator.add(model)
    found = accumulator.finish(scale=0.7)
    assert_same(arrays({n: v.cpu() for n, v in found.items()}, pool.base), wanted)
    merge(base, models, out=tmp_path / "out.safetensors", method="ties", scale=0.7)
    assert_same(read_file(tmp_path / "out.safetensors"), wanted)
    assert set(devices.launches) == {1}


def test_files_on_a_device(
    emulated_cuda: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(native_cuda, "module", lambda: emulated_cuda)
    pool = make_pool(7, shapes={"large": (700, 500), "norm": (77,)}, copied=())
    base, finetuned = pool.save(tmp_path)
    wanted = expected(pool, "ties", scale=0.7)
    options = {"method": "ties", "scale": 0.7}
    for memory in (14_000_000, None):
        out = tmp_path / f"{memory}.safetensors"
        merge_files(base, finetuned, out, max_memory=memory, device=0, options=options)
        assert_same(read_file(out), wanted)


def test_reports_and_histograms(tmp_path: Path) -> None:
    pool = make_pool(3)
    base, finetuned = pool.save(tmp_path)
    report = inspect(base, finetuned, method="ties:density=0.1")
    assert report.method == "ties:density=0.1,per=model"
    thresholds = limits(pool, "ties:density=0.1")
    for row in report.merged:
        models = [model[row.name] for model in pool.finetuned]
        wanted = oracle.statistics(pool.base[row.name], models, method="ties", limits=thresholds[row.name])
        assert (row.kept, row.norm) == (wanted.kept, wanted.norm_exact)
        assert row.agreement == tuple(oracle.agreement(pool.base[row.name], models).tolist())


@pytest.mark.parametrize(("spec", "verify"), [("ties", False), ("ties:per=tensor", True)])
def test_a_dry_run_foretells_what_finding_thresholds_takes(spec: str, verify: bool, tmp_path: Path) -> None:
    base, finetuned = make_pool(5).save(tmp_path)
    out = tmp_path / "out.safetensors"
    steps: list[tuple[int, int]] = []
    foretold = plan_merge(base, finetuned, out=out, method=spec, max_memory=12_000_000, verify=verify)
    report = merge_files(
        base,
        finetuned,
        out,
        max_memory=12_000_000,
        verify=verify,
        options={"method": spec},
        progress=lambda done, total: steps.append((done, total)),
    )
    assert foretold.bytes_read == report.bytes_read == steps[0][1]
    assert {total for _, total in steps} == {foretold.bytes_read}
    done = [read for read, _ in steps]
    assert done == sorted(done)
    assert done[-1] == foretold.bytes_read
    assert foretold.buffer_bytes == report.buffer_bytes < foretold.memory_bytes <= 12_000_000


def test_a_merge_is_identified_by_its_parameters(tmp_path: Path) -> None:
    base, finetuned = make_pool(2).save(tmp_path)
    recorded = set()
    for number, spec in enumerate(["ties", "ties:density=0.1", "ties:per=tensor"]):
        out = tmp_path / f"{number}.safetensors"
        merge(base, finetuned, out=out, method=spec)
        metadata = read_metadata(out)
        recorded.add((metadata["negmerge.method"], metadata["negmerge.digest"]))
    assert {method for method, _ in recorded} == {
        "ties:density=0.2,per=model",
        "ties:density=0.1,per=model",
        "ties:density=0.2,per=tensor",
    }
    assert len({digest for _, digest in recorded}) == 3


def test_too_little_memory_is_named_before_anything_is_read(tmp_path: Path) -> None:
    pool = make_pool(2)
    with pytest.raises(MemoryBudgetError, match="thresholds"):
        merge(
            state_dict(pool.base), [state_dict(m) for m in pool.finetuned], method="ties", max_memory="1MiB"
        )


def test_the_operator_takes_parameters() -> None:
    base, tuned = torch.zeros(10), torch.arange(10.0)
    merged = torch.ops.negmerge.merge(base, [tuned], 1.0, "vector", "ties:density=0.2")
    assert merged.tolist() == [0.0] * 7 + [7.0, 8.0, 9.0]
    assert negmerge_ext.methods()["ties"].settings == (0.2, "model")


def test_an_interrupted_merge_goes_on_with_the_same_thresholds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
    pool = make_pool(3, shapes={"a": (700, 500), "b": (600, 500), "c": (77,)}, copied=())
    base, finetuned = pool.save(tmp_path)
    out = tmp_path / "out.safetensors"
    options = {"method": "ties", "scale": 0.7}

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done < 0.85 * total:  # two thirds are read to find thresholds
            return
        end = time.monotonic() + 20
        while not (tmp_path / ".out.safetensors.partial" / "journal.json").exists():
            assert time.monotonic() < end
            time.sleep(0.002)
        raise StoppedError

    memory = 10_800_000
    with pytest.raises(StoppedError):
        merge_files(base, finetuned, out, max_memory=memory, threads=1, progress=stop, options=options)
    report = merge_files(base, finetuned, out, options=options, resume=True)
    assert report.resumed
    assert_same(read_file(out), expected(pool, "ties", scale=0.7))
