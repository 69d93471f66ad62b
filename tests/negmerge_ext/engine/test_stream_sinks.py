"""The pipeline as other sinks see it: deliveries in order, keep bits, errors on their way out."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import numpy as np
import oracle
import pytest
from pools import Pool, make_pool

from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.checkpoint.base import FileRows
from negmerge_ext.checkpoint.journal import Position
from negmerge_ext.engine.pipeline import Settings, run
from negmerge_ext.engine.sinks import Delivery, Wants
from negmerge_ext.options import Options
from negmerge_ext.plan import Plan, make_plan

pytestmark = pytest.mark.usefixtures("buffers_only")


def plan_of(pool: Pool, folder: Path, **options: str) -> Plan[FileRows]:
    base, finetuned = pool.save(folder)
    return make_plan(open_checkpoint(base), map(open_checkpoint, finetuned), Options.parse(**options))


class Collector:
    """Collects vectors and keep bits."""

    wants = Wants(output=True, keep_bits=True)

    def __init__(self, plan: Plan[FileRows]) -> None:
        self._plan = plan
        self.vectors: dict[str, bytes] = {}
        self.keep: dict[str, bytes] = {}
        self.ends = [Position()]
        self.threads: set[threading.Thread] = set()

    def write(self, delivery: Delivery) -> None:
        self.threads.add(threading.current_thread())
        self.ends.append(delivery.end)
        data = bytes(delivery.data)
        for piece, address, keep in zip(delivery.pieces, delivery.addresses, delivery.keep, strict=True):
            name = self._plan.tensors[piece.tensor].name
            nbytes = 4 * piece.numel
            part, data = data[:nbytes], data[nbytes:]
            assert ctypes.string_at(address, nbytes) == part
            self.vectors[name] = self.vectors.get(name, b"") + part
            self.keep[name] = self.keep.get(name, b"") + ctypes.string_at(keep, 2 * -(-piece.numel // 16))


@pytest.mark.parametrize("max_memory", [900_000, 3_000_000, None])
@pytest.mark.parametrize("models", [2, 20])
def test_deliveries_hold_vectors_and_keep_bits(models: int, max_memory: int | None, tmp_path: Path) -> None:
    pool = make_pool(models)
    plan = plan_of(pool, tmp_path, mode="vector")
    sink = Collector(plan)
    run(plan, sink, Settings(max_memory=max_memory))
    assert sink.ends == sorted(sink.ends)
    assert len(sink.threads) == 1
    assert sink.threads != {threading.current_thread()}
    assert sorted(sink.vectors) == sorted(name for name in pool.names if name not in pool.copied)
    for name, found in sink.vectors.items():
        vector, keep = oracle.task_vector(pool.base[name], [model[name] for model in pool.finetuned])
        assert found == vector.tobytes()
        bits = np.unpackbits(np.frombuffer(sink.keep[name], np.uint8), bitorder="little")
        assert np.array_equal(bits[: keep.size], keep.reshape(-1))
        assert not bits[keep.size :].any()


def test_what_a_sink_raises_ends_the_merge(tmp_path: Path) -> None:
    class BrokenError(Exception):
        pass

    class Broken(Collector):
        def write(self, delivery: Delivery) -> None:
            super().write(delivery)
            if len(self.ends) == 3:
                raise BrokenError

    plan = plan_of(make_pool(2, shapes={"a": (900, 500)}), tmp_path)
    sink, before = Broken(plan), threading.active_count()
    with pytest.raises(BrokenError):
        run(plan, sink, Settings(max_memory=900_000))
    assert len(sink.ends) == 3, "what comes after something lost is not delivered"
    assert threading.active_count() == before
