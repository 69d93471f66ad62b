"""What the benchmarks rely on: rounds, statistics, yardstick, models and result files."""

from __future__ import annotations

import errno
import json
import mmap
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import out_of_core
import pytest
import torch
from harness import machine, models, options, state_dicts
from harness.checkpoints import (
    StillCachedError,
    cached_share,
    drop_cache,
    filesystem,
    paths_of,
    write_hollow,
    write_pool,
)
from harness.processes import FailedError, Finished, peak, run
from harness.read_speed import VARIANTS, Reader
from harness.results import Results
from harness.samples import fastest, ratio, ratios
from harness.timing import Measurement, interleave, timed
from programs import import_path
from safetensors.numpy import load_file


def test_every_round_runs_every_variant_in_an_order_of_its_own() -> None:
    order: list[str] = []

    def variant(name: str) -> Measurement:
        def measure() -> float:
            order.append(name)
            return float(len(order))

        return measure

    names = list("abcdef")
    samples = interleave({name: variant(name) for name in names}, 9, warm_up=1)
    rounds = [tuple(order[start : start + 6]) for start in range(0, 60, 6)]
    assert all(sorted(each) == names for each in rounds)
    assert len(set(rounds)) > 5
    assert all(
        samples[name] == [i + 1 for i, run in enumerate(order) if run == name and i >= 6] for name in names
    )


def test_the_given_order_can_be_kept() -> None:
    order: list[str] = []
    variants = {name: timed(partial(order.append, name)) for name in "cab"}
    assert list(interleave(variants, 2, warm_up=1, shuffle=False)) == ["c", "a", "b"]
    assert order == list("cabcabcab")


def test_preparation_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    measure = timed(lambda: done.append("work"), before=lambda: [next(clock) for _ in range(50)])
    assert measure() == 1
    assert done == ["work"]


def test_ratios_are_taken_within_a_round() -> None:
    samples = {"slow": [2.0, 40.0, 6.0], "fast": [1.0, 10.0, 2.0], "other": [1.0, 10.0, 1.0]}
    assert ratio(samples, "slow", "fast") == 3.0
    assert ratios(samples, ["slow"], ["fast", "other"]) == [1.0, 2.0, 2.0]
    assert fastest(samples, samples) == "other"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_yardstick_reads_every_word(variant: str, threads: int) -> None:
    random = np.random.default_rng(0)
    arrays = [random.integers(-(2**62), 2**62, size) for size in (1, 7, 8, 1000, 12345)]
    tensors = [torch.from_numpy(array) for array in arrays]
    with np.errstate(over="ignore"):
        expected = sum(int(array.view(np.uint64).sum()) for array in arrays) % 2**64
    assert Reader().variants(tensors, threads)[variant]() == expected


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("models", [1, 8, 9, 17])
def test_reading_in_the_order_of_a_merge_reads_every_word(models: int, threads: int) -> None:
    random, reader = np.random.default_rng(models), Reader()
    for lines in ([1], [1500], [3 * 1024 + 5, 7 * 1024 + 5]):
        arrays = [[random.integers(-(2**62), 2**62, each * 8) for _ in range(models + 1)] for each in lines]
        words = np.concatenate([array for each in arrays for array in each]).view(np.uint64)
        calls = reader.in_order([[torch.from_numpy(array) for array in each] for each in arrays], threads)
        assert [call() for call in calls.values()] == [int(words.sum(dtype=np.uint64))] * 2


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ([(64, 128)], "of one size, a multiple of 64 bytes"),
        ([(63, 63)], "of one size, a multiple of 64 bytes"),
        ([(64, 64), (64, 64, 64)], "as many tensors, two or more"),
        ([(64,)], "as many tensors, two or more"),
    ],
)
def test_reading_in_order_wants_tensors_of_one_size(sizes: list[tuple[int, ...]], problem: str) -> None:
    tensors = [[torch.zeros(size, dtype=torch.uint8) for size in each] for each in sizes]
    with pytest.raises(ValueError, match=problem):
        Reader().in_order(tensors, 1)


def test_too_many_threads_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="5000 threads cannot be started"):
        next(iter(Reader().variants([torch.zeros(8)], 5000).values()))()


def test_models() -> None:
    assert (len(models.resnet18()), models.elements(models.resnet18())) == (62, 11_689_512)
    assert (len(models.clip_vit_b32()), models.elements(models.clip_vit_b32())) == (302, 151_277_313)
    assert (len(models.clip_vit_l14()), models.elements(models.clip_vit_l14())) == (590, 427_616_513)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fine_tuned_models_agree_in_part(dtype: torch.dtype) -> None:
    base, pool = state_dicts.pool(models.squares(1, 128), 3, dtype)
    (name,) = base
    signs = torch.stack([torch.sign(state[name].float() - base[name].float()) for state in pool])
    agree = (signs.sum(0).abs() == 3).float().mean()
    assert 0.3 < agree < 0.9
    assert all(state[name].dtype == dtype for state in [base, *pool])


def test_checkpoints_are_written_once(tmp_path: Path) -> None:
    paths = write_pool(tmp_path, "small", 1)
    assert paths == paths_of(tmp_path / "small", 1)
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in write_pool(tmp_path, "small", 1)] == before
    assert load_file(paths[0]).keys() == load_file(paths[1]).keys() == models.squares(8, 256).keys()


class TestCold:
    @pytest.fixture
    def on_disk(self, tmp_path: Path) -> Path:
        """A file that is in the page cache."""
        if filesystem(tmp_path) == "tmpfs":
            pytest.skip("temporary files lie in memory here")
        path = tmp_path / "file"
        path.write_bytes(os.urandom(3 * mmap.PAGESIZE + 1))
        assert cached_share(path) == 1
        return path

    def test_a_dropped_file_is_not_cached(self, on_disk: Path) -> None:
        drop_cache(on_disk)
        assert cached_share(on_disk) == 0
        on_disk.read_bytes()
        assert cached_share(on_disk) == 1

    def test_what_stays_is_noticed(self, on_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "posix_fadvise", lambda *_: None)
        with pytest.raises(StillCachedError, match=r"100\.00% of file stays in the page cache"):
            drop_cache(on_disk)

    def test_files_in_memory_are_not_asked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        asked: list[Path] = []
        monkeypatch.setattr(out_of_core, "drop_cache", asked.append)
        commands: list[list[object]] = []
        for place in ("out_of_core.run", "harness.processes.run"):
            monkeypatch.setattr(place, lambda command, **_: commands.append(command) or Finished(1.0, 0, b""))
        paths, small = paths_of(tmp_path, 2), paths_of(tmp_path / "small", 2)
        for storage in ("tmpfs", "cached", "cold"):
            timed = out_of_core.variants(storage, paths, small, tmp_path / "copy", tmp_path / "out")
            for measure in timed.values():
                measure()
            # What is looked at afterwards is not what the small merge wrote.
            assert sum(tmp_path / "out" in command for command in commands) == 1
            commands.clear()
            assert bool(asked) == (storage == "cold")
        monkeypatch.setattr(out_of_core, "filesystem", lambda folder: "tmpfs")
        monkeypatch.setattr(out_of_core, "has_direct_io", lambda folder: True)
        assert [out_of_core.fits(storage, tmp_path) for storage in ("tmpfs", "cached", "cold")] == [
            True,
            False,
            False,
        ]


def test_a_hollow_checkpoint_is_zeros(tmp_path: Path) -> None:
    path = tmp_path / "hollow.safetensors"
    write_hollow(path, {"a": (3, 2), "b": (), "c": (300, 1000)})
    loaded = load_file(path)
    assert {name: value.shape for name, value in loaded.items()} == {"a": (3, 2), "b": (), "c": (300, 1000)}
    assert not any(value.any() for value in loaded.values())
    assert path.stat().st_blocks * 512 < path.stat().st_size


def test_processes() -> None:
    assert run([sys.executable, "-c", "print(1)"]).stdout == b"1\n"
    with pytest.raises(FailedError, match="no such thing"):
        run([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


def test_a_peak_that_may_be_the_parents_is_refused() -> None:
    with pytest.raises(RuntimeError, match="may be its own"):  # this process has imported torch
        peak([sys.executable, "-c", "pass"])


#: Both leave a process, and what that started, writing to a FIFO until they end.
STARTERS = {
    "run": """
import sys
from harness.processes import run
run(["sh", "-c", 'exec > "$1"; echo started; sleep 1000; true', "sh", sys.argv[1]])
""",
    "run, before the process is known": """
import subprocess, sys, time
from harness.processes import run
start = subprocess.Popen.__init__
def start_slowly(*arguments, **named):
    start(*arguments, **named)
    time.sleep(1)
subprocess.Popen.__init__ = start_slowly
run(["sh", "-c", 'exec > "$1"; echo started; sleep 1000; true', "sh", sys.argv[1]])
""",
    "in_child": """
import sys, time
from harness.processes import in_child
def work(path):
    with open(path, "w") as file:
        print("started", file=file, flush=True)
        time.sleep(1000)
if __name__ == "__main__":
    in_child(work, sys.argv[1])
""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("starter", STARTERS)
def test_processes_end_with_the_program(starter: str, number: signal.Signals, tmp_path: Path) -> None:
    """The signal goes to the program alone, which finds it as a shell in the foreground leaves it."""
    program, fifo = tmp_path / "program.py", tmp_path / "fifo"
    program.write_text(
        f"import signal\nsignal.signal({number:d}, signal.default_int_handler if {number:d} == signal.SIGINT"
        f" else signal.SIG_DFL)\n{STARTERS[starter]}"
    )
    os.mkfifo(fifo)
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    process = subprocess.Popen(
        [sys.executable, program, fifo],
        env={**os.environ, "PYTHONPATH": import_path()},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert next(read_parts(descriptor)) == b"started\n"
        process.send_signal(number)
        assert list(read_parts(descriptor)) == [], "nobody has it open for writing any more"
        assert process.wait(200) == (-number if number == signal.SIGINT else 128 + number)
    finally:
        os.close(descriptor)
        process.kill()
        process.wait()


def read_parts(descriptor: int) -> Iterator[bytes]:
    """What is written to a pipe, until nobody writes any more."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while True:
        assert poll.poll(200_000), "still open"
        if not (part := os.read(descriptor, 1000)):
            return
        yield part


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    program = "import os, signal; os.kill(os.getppid(), signal.SIGHUP)"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run([sys.executable, "-c", program])
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


class TestMachine:
    @pytest.fixture(autouse=True)
    def _installation(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine, "_installation", lambda: {"cuda": {"devices": []}})

    def test_processors_of_one_name_are_told_apart(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "cpuinfo"
        first = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nflags\t\t:\n"
        file.write_text(f"{first}\n{first.replace('17', '1')}\n")
        monkeypatch.setattr(machine, "_CPUS", file)
        found = machine.machine()
        assert (found["cpu"], found["cpu_family"], found["cpu_model"]) == ("AMD EPYC", 25, 17)

    @pytest.mark.parametrize("text", ["processor\t: 0\nCPU part\t: 0xd4f\n", None])
    def test_without_such_numbers(
        self, text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "cpuinfo"
        if text is not None:
            file.write_text(text)
        monkeypatch.setattr(machine, "_CPUS", file)
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        found = machine.machine()
        assert found["cpu"] == "aarch64"
        assert not found.keys() & {"cpu_family", "cpu_model"}


class TestCommit:
    @pytest.fixture
    def package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A package's first file, in a folder of its own."""
        path = tmp_path / "package" / "__init__.py"
        path.parent.mkdir()
        path.touch()
        monkeypatch.setattr(machine, "_installation", lambda: {"package": str(path)})
        return path

    def test_of_a_tree(self, package: Path, tmp_path: Path) -> None:
        if shutil.which("git") is None:
            pytest.skip("git is not installed")

        def git(*words: str) -> str:
            command = ["git", "-C", tmp_path, "-c", "user.name=Any", "-c", "user.email=any@example.org"]
            return run([*command, *words]).stdout.decode().strip()

        result = tmp_path / "benchmarks" / "results" / "kernel.json"
        result.parent.mkdir(parents=True)
        result.touch()
        git("init")
        assert machine.commit() is None
        git("add", "package", "benchmarks")
        git("commit", "--no-gpg-sign", "-m", "First.")
        (tmp_path / "package" / "untracked").touch()
        result.write_text("measured")
        assert machine.commit() == {"hash": git("rev-parse", "--short", "HEAD"), "changed": False}
        package.write_text("changed")
        assert machine.commit() == {"hash": git("rev-parse", "--short", "HEAD"), "changed": True}

    def test_without_git(self, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert machine.commit() is None
        monkeypatch.setenv("PATH", str(package.parent))
        assert machine.commit() is None


class TestResults:
    @pytest.fixture(autouse=True)
    def _command(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", import_path())
        monkeypatch.setattr(sys, "argv", ["/somewhere/kernel.py", "--out", "/else/where.json", "--append"])
        monkeypatch.setattr("harness.results.commit", lambda: {"hash": "89abcde", "changed": False})

    def test_a_case_replaces_its_predecessor(self, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({"models": 2}, {"merge": [1.0]}, {"tensors": 1})
        Results(path, "kernel").add({"models": 16}, {"merge": [3.0]})
        Results(path, "kernel").add({"models": 2}, {"merge": [2.0]}, {"tensors": 5})
        document = json.loads(path.read_text())
        assert [case["parameters"]["models"] for case in document["cases"]] == [2, 16]
        assert document["cases"][0]["seconds"] == {"merge": [2.0]}
        assert document["cases"][0]["facts"] == {"tensors": 5}
        assert len(document["runs"]) == 2
        assert document["runs"][0]["command"] == "python benchmarks/kernel.py --out …/where.json --append"

    def test_a_file_of_something_else_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({"models": 2}, {"merge": [1.0]})
        before = path.read_text()
        with pytest.raises(SystemExit, match="has results of another benchmark, kernel"):
            Results(path, "growth")
        with pytest.raises(SystemExit, match="has results without --quick; give another --out"):
            Results(path, "kernel", quick=True)
        assert path.read_text() == before
        for text in ("", "[]", "{}"):
            path.write_text(text)
            with pytest.raises(SystemExit, match="is there already, and no result file"):
                Results(path, "kernel")
            assert path.read_text() == text

    def test_what_cannot_be_written_is_told_before_measuring(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for path in (tmp_path / "file" / "r.json", Path("/proc/negmerge/r.json")):
            with pytest.raises(SystemExit, match=f"{path} cannot be written: "):
                Results(path, "kernel")

    def test_nothing_is_left_of_a_file_that_did_not_fit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        results = Results(tmp_path / "r.json", "kernel")

        def full(path: Path, text: str) -> int:
            path.touch()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(Path, "write_text", full)
        with pytest.raises(SystemExit, match="cannot be written: No space left"):
            results.add({"models": 2}, {"merge": [1.0]})
        assert list(tmp_path.iterdir()) == []

    def test_samples_are_appended(self, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({"models": 2}, {"merge": [1.0]})
        Results(path, "kernel", append=True).add({"models": 2}, {"merge": [2.0]})
        (case,) = json.loads(path.read_text())["cases"]
        assert case["seconds"] == {"merge": [1.0, 2.0]}
        assert case["runs"] == [0, 1]

    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("commit", {"hash": "0123456", "changed": False}),
            ("machine", {"cpu": "another"}),
            ("versions", {"torch": "0"}),
            ("niceness", 40),
        ],
    )
    def test_samples_of_other_runs_are_not_appended(self, name: str, other: object, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({"models": 2}, {"merge": [1.0]})
        document = json.loads(path.read_text())
        document["runs"][0][name] = other
        path.write_text(json.dumps(document))
        with pytest.raises(SystemExit, match=rf"kernel: .*models.* measured before, and {name} changed"):
            Results(path, "kernel", append=True).add({"models": 2}, {"merge": [2.0]})

    @pytest.mark.parametrize("name", ["commit", "machine", "versions", "niceness"])
    @pytest.mark.parametrize("absent", [True, False])
    def test_nothing_is_appended_to_unknown_samples(self, name: str, absent: bool, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({"models": 2}, {"merge": [1.0]})
        document = json.loads(path.read_text())
        if absent:
            del document["runs"][0][name]
        else:
            document["runs"][0][name] = None
        path.write_text(json.dumps(document))
        before = path.read_text()
        results = Results(path, "kernel", append=True)
        with pytest.raises(SystemExit, match=f"of that {name} is not recorded; measure it without --append"):
            results.add({"models": 2}, {"merge": [2.0]})
        assert path.read_text() == before
        Results(path, "kernel").add({"models": 2}, {"merge": [2.0]})  # but they can be replaced
        assert json.loads(path.read_text())["cases"][0]["seconds"] == {"merge": [2.0]}

    @pytest.mark.parametrize(
        ("commit", "told"),
        [
            (None, "commit is not recorded"),
            ({"hash": "89abcde", "changed": True}, "files differed from the commit"),
        ],
    )
    def test_unknown_samples_are_not_appended(
        self, commit: object, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither to known ones nor to others that are as unknown; and that is told before measuring."""
        monkeypatch.setattr("harness.results.commit", lambda: commit)
        path = tmp_path / "r.json"
        Results(path, "kernel", append=True).add({"models": 2}, {"merge": [1.0]})  # there is nothing yet
        with pytest.raises(SystemExit, match=f"kernel: nothing can be appended, for of this run {told}"):
            Results(path, "kernel", append=True)
        monkeypatch.setattr("harness.results.commit", lambda: {"hash": "89abcde", "changed": False})
        with pytest.raises(SystemExit, match=f"of that {told}"):
            Results(path, "kernel", append=True).add({"models": 2}, {"merge": [2.0]})

    def test_the_run_is_told(self, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({}, {})
        (run,) = json.loads(path.read_text())["runs"]
        assert run["niceness"] == os.nice(0)
        assert run["commit"] == {"hash": "89abcde", "changed": False}
        assert run["date"].endswith("+00:00")

    def test_a_smoke_test_writes_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        results = options.results(options.parser("About.").parse_args(["--quick"]), "kernel")
        assert results.path is None
        assert results.add({"models": 2}, {"merge": [1.0]})["seconds"] == {"merge": [1.0]}
        assert list(tmp_path.iterdir()) == []

    def test_samples_of_other_variants_are_not_appended(self, tmp_path: Path) -> None:
        path = tmp_path / "r.json"
        Results(path, "kernel").add({"models": 2}, {"merge": [1.0]})
        with pytest.raises(SystemExit, match="other variants"):
            Results(path, "kernel", append=True).add({"models": 2}, {"read": [2.0]})
