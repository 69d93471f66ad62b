"""Pools in one process and in several, interrupted and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from negmerge.console import Reporter
from negmerge.devices import checked_devices
from negmerge.errors import TrainingError
from negmerge.finetuning import Job
from negmerge.pipeline import Way, finetune
from negmerge.recipe_file import parse_recipe
from negmerge.workers import Workers
from run_files import checksums
from safetensors.numpy import load_file

from negmerge_ext.errors import DeviceError

QUIET = Reporter(quiet=True)
#: Long enough for a signal to arrive in the middle of it.
LONG = """
name: long
data: {name: digits}
forget: {classes: [3]}
model: {name: small_cnn, width: 4}
training: {epochs: 2, learning_rate: 0.01}
pool: {epochs: 8, learning_rate: [0.001, 0.002, 0.003, 0.004], batch_size: 8}
methods: [uniform, negmerge]
"""


def finetuned(text: str, root: Path, way: Way | None = None) -> dict[str, object]:
    base, members = finetune(parse_recipe(text, "recipe"), text, root, QUIET, way=way)
    return {"base": base, "members": members, "files": checksums(root)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pool that nothing happened to."""
    root = tmp_path_factory.mktemp("undisturbed")
    finetuned(LONG, root)
    return root


def begun(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """``negmerge finetune`` in a session of its own, so that signals can go to all of it."""
    recipe = root.with_suffix(".yaml")
    recipe.write_text(LONG)
    command = [sys.executable, "-m", "negmerge", "finetune", str(recipe), "-o", str(root), *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def processes_of(session: int) -> list[int]:
    """Of a session, those that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if of == str(session) and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.parametrize(("before", "after"), [("cpu,cpu", ("cpu",)), ("cpu", ("cpu", "cpu"))])
def test_a_killed_pool_goes_on_to_the_same_files(undisturbed, tmp_path, before, after):
    """Whichever of both goes on with several processes: they make what one makes."""
    root = tmp_path / "run"
    process = begun(root, "--devices", before)
    wait_for(lambda: len(list(root.glob("pool/*.json"))) >= 1 or process.poll() is not None)
    process.kill()
    process.communicate()
    wait_for(lambda: not processes_of(process.pid))
    there = {path.name: path.stat().st_mtime_ns for path in root.glob("pool/*.json")}
    assert 1 <= len(there) < 4, "killed in the middle"
    resumed = finetuned(LONG, root, Way(devices=after))
    assert resumed["files"] == checksums(undisturbed)
    kept = {path.name: path.stat().st_mtime_ns for path in root.glob("pool/*.json") if path.name in there}
    assert kept == there, "nothing that was finished is done again"


def test_ctrl_c_ends_all_processes_and_leaves_nothing_half(tmp_path):
    root = tmp_path / "run"
    process = begun(root, "--devices", "cpu,cpu")
    wait_for(lambda: len(list(root.glob("pool/*.json"))) >= 1 or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.strip().splitlines()[-1] == "negmerge: interrupted"
    assert "Traceback" not in said
    wait_for(lambda: not processes_of(process.pid))
    assert not [path for path in root.rglob("*") if ".unfinished" in path.name]
    for record in root.glob("pool/*.json"):
        assert load_file(record.with_suffix(".safetensors"))


def test_progress_counts_the_whole_pool_and_tells_the_time_left(small_text, tmp_path, capfd):
    text = small_text
    finetune(parse_recipe(text, "recipe"), text, tmp_path, Reporter())
    lines = [line.strip() for line in capfd.readouterr().err.splitlines()]
    counted = [line for line in lines if line.startswith(("1/3", "2/3", "3/3"))]
    assert [line[:3] for line in counted] == ["1/3", "2/3", "3/3"]
    assert "learning_rate 0.001" in counted[0]
    assert all("left" in line for line in counted[:2])
    assert "left" not in counted[2]


def test_a_worker_that_is_killed_is_named(undisturbed, tmp_path):
    recipe = parse_recipe(LONG, "recipe")
    jobs = [
        Job(number, training, tmp_path / f"{number}.safetensors")
        for number, training in enumerate(recipe.pool.members())
    ]
    with Workers(recipe, {}, undisturbed / "base.safetensors", ("cpu",)) as workers:
        process = workers._workers[0].process
        results = workers.finetuned(iter(jobs), lambda: None)
        job, member = next(results)
        assert job.number == 0
        assert member.hyperparameters["learning_rate"] == 0.001
        process.kill()
        with pytest.raises(TrainingError, match="on cpu was killed by signal 9 during fine-tuning 1"):
            list(results)
    assert not process.is_alive()


def test_what_a_fine_tuning_raises_arrives(undisturbed, tmp_path):
    recipe = parse_recipe(LONG.replace("0.001,", "1.0e+30,"), "recipe")
    job = Job(0, recipe.pool.members()[0], tmp_path / "0.safetensors")
    base = undisturbed / "base.safetensors"
    message = r"learning rate 1e\+30.*Lower the learning rate"
    with (
        Workers(recipe, {}, base, ("cpu",)) as workers,
        pytest.raises(TrainingError, match=message) as caught,
    ):
        list(workers.finetuned(iter([job]), lambda: None))
    assert caught.value.remedy == "Lower the learning rate"


def test_what_else_is_under_way_comes_before_a_failure(undisturbed, tmp_path):
    recipe = parse_recipe(LONG.replace("0.001,", "1.0e+30,"), "recipe")
    jobs = [
        Job(number, training, tmp_path / f"{number}.safetensors")
        for number, training in enumerate(recipe.pool.members())
    ]
    arrived = []
    with Workers(recipe, {}, undisturbed / "base.safetensors", ("cpu", "cpu")) as workers:

        def collect() -> None:
            for job, _ in workers.finetuned(iter(jobs), lambda: None):
                arrived.append(job.number)

        with pytest.raises(TrainingError, match="Lower the learning rate"):
            collect()
    assert 1 in arrived, "it was under way when the other failed"
    assert 0 not in arrived


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("gpu",), "is no name of a device"),
        (("cuda:77",), "there is no such device"),
        (("cpu", "cuda:77"), "cuda:77"),
    ],
)
def test_devices_that_are_not_there(names, message):
    with pytest.raises(DeviceError, match=message):
        checked_devices(names)


def test_the_cpu_may_be_named_for_several_processes():
    assert checked_devices(("cpu", "cpu")) == ("cpu", "cpu")
