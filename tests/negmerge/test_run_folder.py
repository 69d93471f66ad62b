from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from negmerge.errors import BusyError
from negmerge.run_folder import Artefact, RunFolder, appearing_complete, write_json
from safetensors import SafetensorError

from negmerge_ext.errors import DiskSpaceError, OutputError, OutputExistsError


def test_a_stage_is_finished_under_its_own_key_only(tmp_path):
    member = RunFolder(tmp_path).member(3)
    assert member.finished("k") is None
    member.begin()
    member.file.write_bytes(b"weights")
    assert member.finished("k") is None
    member.finish("k", {"loss": 0.5})
    assert member.finished("k") == {"loss": 0.5}
    assert member.finished("other") is None


def test_beginning_again_takes_the_record_back(tmp_path):
    base = RunFolder(tmp_path).base
    base.begin()
    base.file.write_bytes(b"old")
    base.finish("k", {})
    base.begin()
    assert base.finished("k") is None
    assert base.file.exists()


def test_a_record_without_its_file_does_not_count(tmp_path):
    base = finished_base(tmp_path)
    base.file.unlink()
    assert base.finished("k") is None


def finished_base(root: Path) -> Artefact:
    base = RunFolder(root).base
    base.begin()
    base.file.write_bytes(b"weights")
    base.finish("k", {})
    assert base.finished("k") == {}
    return base


@pytest.mark.parametrize("content", [b"", b"weight", b"weights and more"])
def test_a_file_of_another_size_does_not_count(tmp_path, content):
    base = finished_base(tmp_path)
    base.file.write_bytes(content)
    assert base.finished("k") is None
    assert base.recorded() is None


def test_a_record_without_a_size_counts(tmp_path):
    """As earlier versions wrote it."""
    base = finished_base(tmp_path)
    plain = json.loads(base.record.read_text())
    assert plain.pop("file_size") == 7
    base.record.write_text(json.dumps(plain))
    assert base.finished("k") == {}


@pytest.mark.parametrize("which", ["record", "file"])
def test_a_folder_in_the_place_of_a_file_does_not_count(tmp_path, which):
    base = finished_base(tmp_path)
    path: Path = getattr(base, which)
    path.unlink()
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    assert base.finished("k") is None
    with pytest.raises(OutputExistsError, match=rf"{path.name}: is a folder.*Move it away"):
        base.begin()
    assert (path / "notes.txt").read_text() == "mine"
    (path / "notes.txt").unlink()
    assert finished_base(tmp_path).finished("k") == {}, "an empty one makes way"


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"loss": 1}'])
def test_a_damaged_record_does_not_count(tmp_path, content):
    search = RunFolder(tmp_path).search("negmerge")
    search.begin()
    search.record.write_text(content)
    assert search.finished("k") is None


def fail_half_way(target: Path) -> None:
    with appearing_complete(target) as unfinished:
        unfinished.write_text("half")
        raise RuntimeError


def test_files_appear_complete_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "file"
    with pytest.raises(RuntimeError):
        fail_half_way(target)
    assert list(target.parent.iterdir()) == []

    with appearing_complete(target) as unfinished:
        unfinished.write_text("old")
    with pytest.raises(RuntimeError):
        fail_half_way(target)
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (SafetensorError("Error: I/O error: No space left on device (os error 28)"), DiskSpaceError),
        (SafetensorError("Error: something else"), OutputError),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), DiskSpaceError),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), OutputError),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, problem, kind):
    def write() -> None:
        with appearing_complete(tmp_path / "file") as unfinished:
            unfinished.write_text("half")
            raise problem

    with pytest.raises(kind, match=f"{tmp_path}/file: "):
        write()
    assert list(tmp_path.iterdir()) == []


def test_files_have_the_usual_mode_whoever_writes_them(tmp_path):
    (tmp_path / "usual").touch()
    with appearing_complete(tmp_path / "file") as unfinished:
        unfinished.unlink()
        unfinished.touch(0o600)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_json_refuses_what_other_readers_would_not_understand(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_removes_members_of_a_larger_pool_and_nothing_else(tmp_path):
    folder = RunFolder(tmp_path)
    for number in range(5):
        folder.member(number).begin()
        folder.member(number).file.write_bytes(b"weights")
        folder.member(number).finish("k", {})
    foreign = tmp_path / "pool" / "notes.txt"
    foreign.write_text("mine")
    folder.remove_members_from(2)
    left = sorted(path.name for path in (tmp_path / "pool").iterdir())
    assert left == ["000.json", "000.safetensors", "001.json", "001.safetensors", "notes.txt"]


HOLD = """
import sys
from pathlib import Path
from negmerge.errors import BusyError
from negmerge.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("in", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-c", HOLD, str(folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(BusyError, match="another run is at work in this folder"):
            enter(folder)
        other.kill()
        other.wait()
        enter(folder)


def enter(folder: RunFolder) -> None:
    with folder.locked():
        pass


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_a_place_where_no_folder_can_be_is_named(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot be the folder of a run: .*\(-o\)") as caught:
        enter(RunFolder(tmp_path / place))
    assert caught.value.path == str(tmp_path / place)
