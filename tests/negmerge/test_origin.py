from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from negmerge.origin import origin_of, stamp
from negmerge.run_folder import RunFolder


def test_a_stage_records_when_and_where_it_was_written_beside_its_facts(tmp_path: Path):
    stage = RunFolder(tmp_path).base_scores
    assert stage.written() is None
    stage.finish("key", {"fact": 1})
    assert stage.finished("key") == stage.recorded() == {"fact": 1}
    written = stage.written()
    assert written is not None
    assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(written["at"])) < timedelta(minutes=5)
    assert written["cpu"]
    assert written["cores"] >= 1


def test_several_stages_span_from_the_first_to_the_last_and_name_each_machine_once():
    here = stamp()
    times = ("2026-01-02T03:00:00+00:00", "2026-01-01T03:00:00+00:00", "2026-01-03T03:00:00+00:00")
    stamps = [{**here, "at": at, "cpu": cpu} for at, cpu in zip(times, ("a", "b", "a"), strict=True)]
    origin = origin_of([None, *stamps])
    assert (origin.first, origin.last) == (times[1], times[2])
    assert [machine.cpu for machine in origin.machines] == ["b", "a"]
    assert origin_of([None]) is None
