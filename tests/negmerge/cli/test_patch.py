import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from negmerge_ext import Patch


@pytest.fixture
def patch(invoke, pool) -> str:
    done = invoke("patch", "make", *pool, "-o", "forget.patch", "--exclude", "lm_head.*")
    assert done.returncode == 0, done.stderr
    return "forget.patch"


@pytest.mark.parametrize(
    "options", [["--scale", "0.7"], ["--mode", "add", "--out-dtype", "bfloat16"]], ids=" ".join
)
def test_apply_writes_the_tensors_of_the_merge(invoke, pool, patch, options):
    applied = invoke("patch", "apply", pool[0], patch, "-o", "applied.safetensors", *options)
    assert applied.returncode == 0, applied.stderr
    merged = invoke("merge", *pool, "-o", "merged.safetensors", "--exclude", "lm_head.*", *options)
    assert merged.returncode == 0, merged.stderr
    # Everything behind the headers, whose metadata tell the two apart.
    assert data("applied.safetensors") == data("merged.safetensors")
    assert "applied.safetensors" in applied.stdout


def data(path: str) -> bytes:
    content = Path(path).read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


def test_info_tells_what_the_patch_is(invoke, patch):
    description = Patch.load(patch).describe()
    assert json.loads(invoke("patch", "info", patch, "--json").stdout) == description
    printed = invoke("patch", "info", patch).stdout
    assert "base.safetensors" in printed
    assert f"{description['totals']['elements']:,} merged elements" in printed


def test_make_as_json_describes_what_was_written(invoke, pool):
    done = invoke("patch", "make", *pool, "-o", "a.patch", "--json")
    assert json.loads(done.stdout) == Patch.load("a.patch").describe()


def test_patch_refuses_another_base(invoke, pool, patch):
    other = load_file(pool[0])
    other["h.0.bias"] = other["h.0.bias"] + np.float32(1)
    save_file(other, "other.safetensors")
    done = invoke("patch", "apply", "other.safetensors", patch, "-o", "applied.safetensors")
    assert (done.returncode, done.stdout) == (3, "")
    assert "h.0.bias" in done.stderr
    assert not Path("applied.safetensors").exists()


def test_existing_patch_is_kept(invoke, pool, patch):
    before = Path(patch).read_bytes()
    assert invoke("patch", "make", *pool, "-o", patch).returncode == 4
    assert Path(patch).read_bytes() == before
    assert invoke("patch", "make", *pool, "-o", patch, "--overwrite").returncode == 0
    assert Path(patch).read_bytes() != before


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_report_that_cannot_be_printed_says_that_the_patch_is_complete(negmerge, pool, extra):
    command = [sys.executable, "-m", "negmerge", "patch", "make", *pool, "-o", "a.patch", *extra]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "report could not be printed: No space left on device; a.patch is complete" in done.stderr
    assert done.stderr.count("\n") == 1
    assert Patch.load("a.patch").tensors


def test_closed_stdout_is_one_message(pool):
    command = shlex.join([sys.executable, "-m", "negmerge", "inspect", *pool])
    done = subprocess.run(f"{command} >&-", shell=True, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        "negmerge: error: the report could not be printed: Bad file descriptor\n",
    )


def test_file_that_is_no_patch_exits_3(invoke, pool):
    done = invoke("patch", "info", pool[0])
    assert (done.returncode, done.stdout) == (3, "")
    assert pool[0] in done.stderr
