import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from negmerge.cli.summary import merge_summary
from safetensors.numpy import load_file, save_file

import negmerge_ext
from negmerge_ext.checkpoint.work_folder import WorkFolder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def same_tensors(path: Path | str, expected: dict[str, np.ndarray]) -> bool:
    found = load_file(path)
    return set(found) == set(expected) and all(
        found[name].dtype == tensor.dtype and found[name].tobytes() == tensor.tobytes()
        for name, tensor in expected.items()
    )


def in_memory(pool, **options):
    base, *finetuned = (load_file(path) for path in pool)
    return negmerge_ext.merge(base, finetuned, **options)


def test_merge_writes_what_the_library_computes(invoke, pool):
    done = invoke(
        "merge", *pool, "-o", "out.safetensors", "--scale", "0.7", "--mode", "add", "--exclude", "lm_head.*"
    )
    assert done.returncode == 0, done.stderr
    assert same_tensors("out.safetensors", in_memory(pool, scale=0.7, mode="add", exclude=["lm_head.*"]))
    assert "out.safetensors" in done.stdout
    assert done.stderr == ""


def test_methods_take_parameters(invoke, pool):
    done = invoke("merge", *pool, "-o", "out.safetensors", "--method", "ties:density=0.5,per=tensor")
    assert done.returncode == 0, done.stderr
    assert same_tensors("out.safetensors", in_memory(pool, method="ties:density=0.5,per=tensor"))
    assert "ties:density=0.5,per=tensor" in done.stdout
    wrong = invoke("merge", *pool, "-o", "no.safetensors", "--method", "ties:densty=0.5")
    assert wrong.returncode == 2
    assert "Did you mean density" in wrong.stderr


def test_options_reach_the_merge(invoke, pool):
    arguments = ["--method", "uniform", "--mode", "vector", "--include", "h.*", "--out-dtype", "fp16"]
    done = invoke(
        "merge",
        *pool,
        "-o",
        "out.safetensors",
        *arguments,
        "--max-memory",
        "64MiB",
        "--threads",
        "1",
        "--verify",
    )
    assert done.returncode == 0, done.stderr
    expected = in_memory(pool, method="uniform", mode="vector", include=["h.*"], out_dtype="float16")
    assert same_tensors("out.safetensors", expected)
    assert "verified" in done.stdout


def test_running_statistics_are_merged_if_included(invoke, folder):
    for name, value in (("base", 1.0), ("ft", 2.0)):
        save_file(
            {"bn.running_mean": np.full(3, value, np.float32), "w": np.full(3, value, np.float32)},
            f"{name}.safetensors",
        )
    arguments = ["merge", "base.safetensors", "ft.safetensors"]
    assert invoke(*arguments, "-o", "default.safetensors").returncode == 0
    assert invoke(*arguments, "-o", "all.safetensors", "--include", "*").returncode == 0
    assert load_file("default.safetensors")["bn.running_mean"].tolist() == [1.0] * 3
    assert load_file("all.safetensors")["bn.running_mean"].tolist() == [0.0] * 3


def test_json_is_the_report_and_nothing_else(invoke, pool):
    done = invoke("merge", *pool, "-o", "out.safetensors", "--json")
    report = json.loads(done.stdout)
    assert done.stderr == ""
    assert report["models"] == 3
    assert report["totals"]["elements"] == sum(row["elements"] for row in report["tensors"])
    assert [Path(path).name for path in report["outputs"]] == ["out.safetensors"]


def test_quiet_prints_nothing(invoke, pool):
    done = invoke("merge", *pool, "-o", "out.safetensors", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_non_finite_input_is_warned_of(invoke, folder, pool):
    broken = load_file(pool[1])
    broken["h.0.bias"][:2] = np.inf
    save_file(broken, pool[1])
    done = invoke("merge", *pool, "-o", "out.safetensors")
    assert done.returncode == 0
    assert "2 elements" in done.stderr


def test_dry_run_tells_the_plan_and_writes_nothing(invoke, folder, pool):
    before = snapshot(folder)
    done = invoke("merge", *pool, "-o", "out.safetensors", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert snapshot(folder) == before
    for word in ("read", "write", "memory", "free"):
        assert word in done.stdout


def test_dry_run_as_json_agrees_with_the_merge(invoke, folder, pool):
    plan = json.loads(invoke("merge", *pool, "-o", "out.safetensors", "--dry-run", "--json").stdout)
    report = json.loads(invoke("merge", *pool, "-o", "out.safetensors", "--json").stdout)
    assert plan["bytes_read"] == report["bytes_read"]
    assert plan["bytes_written"] == report["bytes_written"] == Path("out.safetensors").stat().st_size


def test_dry_run_knows_of_verifying_and_resuming(invoke, folder, pool):
    arguments = ("merge", *pool, "-o", "out.safetensors", "--dry-run", "--json")
    once, twice = (json.loads(invoke(*arguments, *extra).stdout) for extra in ([], ["--verify"]))
    assert twice["bytes_read"] == 2 * once["bytes_read"]
    resumed = invoke("merge", *pool, "-o", "out.safetensors", "--dry-run", "--resume", "--verify")
    assert resumed.returncode == 0, resumed.stderr
    assert "less left to do" in resumed.stdout
    assert "verification included" in resumed.stdout


def test_missing_inputs_and_an_output_in_the_way_are_one_report(invoke, pool):
    Path("out.safetensors").write_bytes(b"mine")
    for extra in ([], ["--dry-run"]):
        done = invoke("merge", "no-base.pt", pool[1], "no-model.pt", "-o", "out.safetensors", *extra)
        assert done.returncode == 3
        for part in ("no-base.pt", "no-model.pt", "exists already"):
            assert part in done.stderr


def test_dry_run_finds_what_would_stop_the_merge(invoke, folder, pool):
    Path("out.safetensors").write_bytes(b"mine")
    done = invoke("merge", *pool, "-o", "out.safetensors", "--dry-run")
    assert done.returncode == 4
    assert "exists" in done.stderr
    assert Path("out.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "command",
    [
        "merge {} -o out.safetensors",
        "merge {} -o out.safetensors --dry-run",
        "inspect {}",
        "patch make {} -o out.safetensors",
    ],
)
def test_device_that_this_build_cannot_use_exits_3(invoke, pool, folder, command):
    done = invoke(*command.format(" ".join(pool)).split(), "--device", "abacus")
    assert (done.returncode, done.stdout) == (3, "")
    assert "abacus" in done.stderr
    assert not (folder / "out.safetensors").exists()


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_what_merges_files_may_be_named(invoke, pool, device):
    assert invoke("merge", *pool, "-o", "a.safetensors", "--device", device).returncode == 0
    assert same_tensors("a.safetensors", in_memory(pool))
    assert invoke("patch", "make", *pool, "-o", "named.patch", "--device", device).returncode == 0
    assert invoke("patch", "make", *pool, "-o", "unnamed.patch").returncode == 0
    assert Path("named.patch").read_bytes() == Path("unnamed.patch").read_bytes()
    assert '"device": "cpu"' in invoke("inspect", *pool, "--json", "--device", device).stdout


def test_existing_output_is_kept_unless_overwriting_is_asked_for(invoke, pool):
    Path("out.safetensors").write_bytes(b"mine")
    done = invoke("merge", *pool, "-o", "out.safetensors")
    assert done.returncode == 4
    assert Path("out.safetensors").read_bytes() == b"mine"
    assert invoke("merge", *pool, "-o", "out.safetensors", "--overwrite").returncode == 0
    assert same_tensors("out.safetensors", in_memory(pool))


def test_bad_input_lists_every_problem_and_writes_nothing(invoke, folder, pool):
    for path, name in ((pool[1], "h.0.bias"), (pool[2], "h.1.weight")):
        broken = load_file(path)
        broken[name] = np.zeros((3, 3), np.float32)
        save_file(broken, path)
    before = snapshot(folder)
    done = invoke("merge", *pool, "-o", "out.safetensors")
    assert (done.returncode, done.stdout) == (3, "")
    for part in (pool[1], "h.0.bias", pool[2], "h.1.weight"):
        assert part in done.stderr
    assert snapshot(folder) == before


def test_error_as_json(invoke, folder, pool):
    done = invoke("merge", *pool, "missing.safetensors", "-o", "out.safetensors", "--json")
    error = json.loads(done.stderr)["error"]
    assert (done.returncode, error["exit_code"]) == (3, 3)
    assert error["path"] == "missing.safetensors"
    assert done.stdout == ""


@pytest.mark.parametrize(
    "option",
    [
        ["--out-dtype", "int8"],
        ["--max-memory", "lots"],
        ["--threads", "0"],
        ["--scale", "nan"],
        ["--mode", "subtract"],
        ["--method", "median"],
    ],
    ids=" ".join,
)
def test_values_that_an_option_does_not_accept_exit_2(invoke, folder, pool, option):
    done = invoke("merge", *pool, "-o", "out.safetensors", *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert option[0] in done.stderr or option[1] in done.stderr
    assert not Path("out.safetensors").exists()


#: The command line in which every chunk takes a while and is journaled at once.
SLOWLY = """
import time
from negmerge_ext.checkpoint import writer

mark = writer.Writer.mark

def mark_slowly(self, position, rows):
    mark(self, position, rows)
    time.sleep(0.1)

writer.JOURNAL_SECONDS = 0
writer.Writer.mark = mark_slowly

from negmerge.cli import main
main()
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_cleanly_and_resume_finishes_it(negmerge, tmp_path, number, code):
    random = np.random.default_rng(5)
    base = {f"h.{layer}.weight": random.standard_normal((1024, 1024), np.float32) for layer in range(4)}
    finetuned = {name: tensor + np.float32(0.5) for name, tensor in base.items()}
    save_file(base, tmp_path / "base.safetensors")
    save_file(finetuned, tmp_path / "ft.safetensors")
    out, journal = tmp_path / "out.safetensors", tmp_path / ".out.safetensors.partial" / "journal.json"
    arguments = ["merge", str(tmp_path / "base.safetensors"), *[str(tmp_path / "ft.safetensors")] * 3]
    arguments += ["-o", str(out), "--max-memory", "20MiB", "--json"]

    child = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not journal.exists() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=60)
    assert (child.returncode, stdout) == (code, "")
    error = json.loads(stderr)["error"]
    assert error["exit_code"] == code
    assert "resume" in error["message"]
    assert not out.exists()

    done = negmerge(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed"]
    assert same_tensors(out, negmerge_ext.merge(base, [finetuned] * 3))


def test_summary_says_that_a_merge_was_resumed(pool):
    report = negmerge_ext.merge(pool[0], pool[1:], out="out.safetensors")
    assert merge_summary(report).startswith("written ")
    assert merge_summary(replace(report, resumed=True)).startswith("resumed, written ")


def test_resuming_a_merge_killed_after_publishing_says_so(invoke, pool, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "remove", lambda self, *, published: self.unlock())
        invoke("merge", *pool, "-o", "out.safetensors")
    written = Path("out.safetensors").read_bytes()
    done = invoke("merge", *pool, "-o", "out.safetensors", "--resume")
    assert done.returncode == 0, done.stderr
    assert f"complete already: {Path('out.safetensors').resolve()}" in done.stdout
    assert Path("out.safetensors").read_bytes() == written
    assert not Path(".out.safetensors.partial").exists()


@pytest.mark.parametrize("name", ["", "/dev/null", "out.pt"])
def test_places_where_no_model_can_be_written_are_wrong_use(invoke, pool, name):
    done = invoke("merge", *pool, "-o", name, "--overwrite")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_report_that_cannot_be_printed_says_that_the_output_is_complete(pool):
    command = [sys.executable, "-m", "negmerge", "merge", *pool, "-o", "out.safetensors"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.endswith(
        "could not be printed: No space left on device; out.safetensors is complete\n"
    )
    assert same_tensors("out.safetensors", in_memory(pool))


def test_errors_name_the_options_of_the_command_line(invoke, pool):
    invoke("merge", *pool, "-o", "out.safetensors")
    assert "--overwrite" in invoke("merge", *pool, "-o", "out.safetensors").stderr
    done = invoke("merge", *pool, "-o", "new.safetensors", "--max-memory", "1KiB")
    assert done.returncode == 3
    assert re.search(r"\(--max-memory\) \d+MiB or more", done.stderr)


def test_what_is_complete_is_not_resumed(invoke, folder, pool):
    invoke("merge", *pool, "-o", "out.safetensors")
    before = snapshot(folder)
    done = invoke("merge", *pool, "-o", "out.safetensors", "--resume")
    assert done.returncode == 4
    assert snapshot(folder) == before


def test_reader_that_goes_away_is_no_reason_for_a_traceback(pool):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "negmerge", "merge", *pool, "-o", "out.safetensors", "--json"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")
    assert Path("out.safetensors").exists()
