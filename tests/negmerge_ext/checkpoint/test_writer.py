"""Making outputs under a hidden name: locks, journals, publishing, recovering."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from programs import start_program

from negmerge_ext.checkpoint import publish, writer
from negmerge_ext.checkpoint.disk import create_file
from negmerge_ext.checkpoint.journal import Journal, Position, ResumePoint
from negmerge_ext.checkpoint.output import Output, OutputFile
from negmerge_ext.checkpoint.safetensors import build_header
from negmerge_ext.checkpoint.work_folder import WorkFolder, work_path
from negmerge_ext.checkpoint.writer import Writer
from negmerge_ext.errors import OutputError, ResumeError
from negmerge_ext.stats import NATIVE_STATS

ROWS = np.array([(3, 0, 0.1, -0.0), (2, 1, float("inf"), float("nan")), (0, 0, 0.0, 0.0)], NATIVE_STATS)


#: Elements of the tensors that journals are about.
NUMEL = [20_000] * 8


def folder_output(path: Path, files: int = 2) -> Output:
    """A folder of files with one tensor of 100 bytes each, and an index."""
    layouts = [build_header([(f"t{k}", "U8", (100,))]) for k in range(files)]
    return Output(
        path=path,
        folder=True,
        files=tuple(
            OutputFile(f"model-{k}-of-{files}.safetensors", layout) for k, layout in enumerate(layouts)
        ),
        file=np.arange(files),
        offset=np.array([layout.offsets[f"t{k}"] for k, layout in enumerate(layouts)]),
        texts={"model.safetensors.index.json": b"{}"},
        companions={},
    )


def write(output: Output, byte: int) -> None:
    with Writer(output) as made:
        assert made.begin() is None
        for file, offset in enumerate(output.offset):
            made.write(file, int(offset), memoryview(bytes([byte]) * 100))
        made.finish(Position(len(output.files)), np.empty(0, NATIVE_STATS))
        made.publish()


@pytest.mark.parametrize("folder", ["/var/tmp", "/dev/shm"])
def test_space_is_reserved_where_that_costs_no_pages(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True)
    sizes, real = [], os.posix_fallocate

    def seen(descriptor: int, offset: int, size: int) -> None:
        sizes.append(size)
        real(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", seen)
    with tempfile.TemporaryDirectory(dir=folder) as own:
        create_file(Path(own) / "file", 100_000)
        assert (Path(own) / "file").stat().st_size == 100_000
    assert sizes == ([] if asked.stdout.strip() == "tmpfs" else [100_000])


def read(folder: Path) -> bytes:
    """The last byte of every weights file."""
    return b"".join(path.read_bytes()[-1:] for path in sorted(folder.glob("*.safetensors")))


class TestPublishing:
    def test_a_folder_appears_at_once_and_alone(self, tmp_path: Path) -> None:
        write(folder_output(tmp_path / "out"), 1)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert read(tmp_path / "out") == b"\1\1"
        assert (tmp_path / "out" / "model.safetensors.index.json").read_bytes() == b"{}"

    @pytest.mark.parametrize("exchange", [True, False])
    def test_a_folder_replaces_another(
        self, exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With one system call, or where that is missing with two renames."""
        if not exchange:
            monkeypatch.setattr(publish, "_renameat2", lambda *arguments: False)
        write(folder_output(tmp_path / "out", files=5), 1)
        write(folder_output(tmp_path / "out", files=2), 2)
        assert read(tmp_path / "out") == b"\2\2"
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_an_empty_folder_is_replaced(self, tmp_path: Path) -> None:
        (tmp_path / "out").mkdir()
        write(folder_output(tmp_path / "out"), 1)
        assert read(tmp_path / "out") == b"\1\1"

    def test_between_two_renames_nothing_is_lost(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(folder_output(tmp_path / "out"), 1)
        monkeypatch.setattr(publish, "_renameat2", lambda *arguments: False)
        self.fail_at_rename(monkeypatch, "output", lambda: OSError(errno.EIO, "broken"))
        with pytest.raises(OutputError, match="broken"):
            write(folder_output(tmp_path / "out"), 2)
        assert read(tmp_path / "out") == b"\1\1", "the old folder was put back at once"
        self.fail_at_rename(monkeypatch, "output", KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            write(folder_output(tmp_path / "out"), 2)
        assert read(tmp_path / "out") == b"\1\1", "or while tidying up"
        # As a kill between the two leaves it.
        work = WorkFolder(tmp_path / "out")
        (tmp_path / "out").rename(work.replaced)
        work.unlock()
        WorkFolder(tmp_path / "out").remove()
        assert read(tmp_path / "out") == b"\1\1", "or by the next merge"
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    @staticmethod
    def fail_at_rename(
        monkeypatch: pytest.MonkeyPatch, name: str, problem: Callable[[], BaseException]
    ) -> None:
        real = Path.rename

        def rename(self: Path, target: Path) -> Path:
            if self.name == name:
                raise problem()
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)

    def test_names_of_weights_are_told_from_others(self, tmp_path: Path) -> None:
        """By the names that are always weights, and by the index that lists them."""
        ours = {
            "model.safetensors", "model-1-of-1.safetensors", "model.safetensors.index.json",
            "pytorch_model.bin", "pytorch_model.bin.index.json", "diffusion_pytorch_model.safetensors",
        }  # fmt: skip
        others = {
            "adapter_model.safetensors", "reward_model.bin", "model.pt", "model.safetensors.bak",
            "notes.json", "model-2-of-2.safetensors",
        }  # fmt: skip
        for name in ours | others:
            (tmp_path / name).touch()
        index = {"weight_map": {"a": "model-1-of-1.safetensors", "b": "notes.json"}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        (tmp_path / "optimizer").mkdir()
        assert publish.foreign_files(tmp_path, ["config.json"]) == sorted({*others, "optimizer"})
        assert publish.foreign_files(tmp_path, others) == ["optimizer"]


class TestWriter:
    def test_files_are_made_in_order_with_few_descriptors(self, tmp_path: Path) -> None:
        """And none is open in the end."""
        output = folder_output(tmp_path / "out", files=60)
        before = len(list(Path("/dev/fd").iterdir()))
        with Writer(output) as made:
            made.begin()
            for file, offset in enumerate(output.offset):
                made.write(file, int(offset), memoryview(bytes([file]) * 100))
                assert len(list(Path("/dev/fd").iterdir())) < before + 12
            made.finish(Position(60), np.empty(0, NATIVE_STATS))
            made.publish()
        assert len(list(Path("/dev/fd").iterdir())) == before
        assert sorted(read(tmp_path / "out")) == list(range(60))

    def test_writing_may_go_back_to_an_earlier_file(self, tmp_path: Path) -> None:
        output = folder_output(tmp_path / "out")
        with Writer(output) as made:
            made.begin()
            for half in (0, 50):
                for file, offset in enumerate(output.offset):
                    made.write(file, int(offset) + half, memoryview(bytes([file + half]) * 50))
            made.finish(Position(2), np.empty(0, NATIVE_STATS))
            made.publish()
        assert read(tmp_path / "out") == bytes([50, 51])

    def test_what_counts_as_written(self, tmp_path: Path) -> None:
        output = folder_output(tmp_path / "out")
        with Writer(output) as made:
            made.begin()
            for file, offset in enumerate(output.offset):
                made.write(file, int(offset), memoryview(bytes(100)))
            assert made.bytes_written == output.nbytes

    def test_without_a_digest_nothing_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        output = folder_output(tmp_path / "out")

        def interrupted() -> None:
            with Writer(output) as made:
                made.begin()
                made.write(0, int(output.offset[0]), memoryview(bytes(100)))
                made.mark(Position(1), ROWS)
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert list(tmp_path.iterdir()) == []

    def test_a_journal_never_runs_ahead_of_the_data(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Everything before its position is synced when it is saved."""
        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        output = folder_output(tmp_path / "out", files=4)
        synced: set[str] = set()
        at_save: list[tuple[int, set[str]]] = []
        real_sync, real_save = os.fdatasync, Journal.save

        def sync(descriptor: int) -> None:
            synced.add(Path(f"/dev/fd/{descriptor}").readlink().name)
            real_sync(descriptor)

        def save(self: Journal, point: ResumePoint, inode: int) -> None:
            at_save.append((point.position.tensor, set(synced)))
            real_save(self, point, inode)

        monkeypatch.setattr(os, "fdatasync", sync)
        monkeypatch.setattr(Journal, "save", save)
        with Writer(output, digest="x", merged=3, numel=[100] * len(output.files)) as made:
            made.begin()
            for file, offset in enumerate(output.offset):
                made.write(file, int(offset), memoryview(bytes(100)))
                made.mark(Position(file + 1), ROWS)
            made.finish(Position(4), ROWS)
            made.publish()
        assert at_save
        for done, files in at_save:
            assert files >= {file.name for file in output.files[:done]}

    def test_a_file_that_cannot_be_synced_stops_the_journal(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        output = folder_output(tmp_path / "out", files=3)
        real = os.fdatasync

        def fail_once(descriptor: int) -> None:
            monkeypatch.setattr(os, "fdatasync", real)
            raise OSError(errno.EIO, "broken")

        def write_and_mark() -> None:
            with Writer(output, digest="x", merged=3, numel=[100] * len(output.files)) as made:
                made.begin()
                monkeypatch.setattr(os, "fdatasync", fail_once)
                for file, offset in enumerate(output.offset):
                    made.write(file, int(offset), memoryview(bytes(100)))
                    if file > 0:
                        made.mark(Position(file + 1), ROWS)
                made.finish(Position(3), ROWS)

        with pytest.raises(OutputError, match="broken"):
            write_and_mark()
        assert list(tmp_path.iterdir()) == [], "there was no journal, so nothing was kept"

    @pytest.mark.parametrize(
        "where", [(os, "fdatasync"), (writer, "sync_file")], ids=["meanwhile", "at the end"]
    )
    def test_after_a_failed_sync_nothing_is_resumed(
        self, where: tuple[object, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even from a journal saved before: Linux tells of lost data once."""
        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        output = folder_output(tmp_path / "out")
        journal = work_path(output.path) / WorkFolder.JOURNAL
        real = Journal.remove

        def fail(_: object) -> None:
            assert journal.exists()
            raise OSError(errno.EIO, "broken")

        def killed(self: Journal) -> None:
            real(self)
            raise SystemExit

        def write_all() -> None:
            with Writer(output, digest="x", merged=3, numel=[100] * 2) as made:
                made.begin()
                made.write(0, int(output.offset[0]), memoryview(bytes(100)))
                made.mark(Position(1), ROWS)
                assert made._saving is not None
                made._saving.result()
                monkeypatch.setattr(*where, fail)
                made.write(1, int(output.offset[1]), memoryview(bytes(100)))
                made.finish(Position(2), ROWS)

        with pytest.raises(OutputError, match="broken") as caught:
            write_all()
        assert not hasattr(caught.value, "__notes__")
        assert list(tmp_path.iterdir()) == []
        monkeypatch.undo()
        monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)
        monkeypatch.setattr(Journal, "remove", killed)
        monkeypatch.setattr(WorkFolder, "remove", lambda self, *, published: self.unlock())
        with pytest.raises(SystemExit):
            write_all()
        assert not journal.exists(), "it goes at once"


class TestWorkFolder:
    def test_is_locked_against_others(self, tmp_path: Path) -> None:
        first = WorkFolder(tmp_path / "out")
        with pytest.raises(OutputError, match="being written by another merge"):
            WorkFolder(tmp_path / "out")
        first.remove()
        assert list(tmp_path.iterdir()) == []
        WorkFolder(tmp_path / "out").remove()

    def test_many_at_once_leave_one_at_a_time(self, tmp_path: Path) -> None:
        """Also when one removes the folder that another is about to lock."""
        program = """
import os, sys
from pathlib import Path
from negmerge_ext.checkpoint.work_folder import WorkFolder
from negmerge_ext.errors import OutputError
folder, done = Path(sys.argv[1]), 0
while done < 40:
    try:
        work = WorkFolder(folder / "out")
    except OutputError:
        continue
    os.close(os.open(folder / "held", os.O_CREAT | os.O_EXCL))
    (folder / "held").unlink()
    work.remove()
    done += 1
"""
        processes = [start_program(program, str(tmp_path)) for _ in range(3)]
        for process in processes:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        assert list(tmp_path.iterdir()) == []

    def test_says_what_it_cannot_make(self, tmp_path: Path) -> None:
        work_path(tmp_path / "out").write_text("a file in its place")
        with pytest.raises(OutputError, match="is no folder"):
            WorkFolder(tmp_path / "out")
        with pytest.raises(OutputError, match="cannot be written"):
            WorkFolder(tmp_path / "absent" / "out")

    def test_a_link_in_its_place_is_left_alone(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        (victim / "output").mkdir(parents=True)
        work_path(tmp_path / "out").symlink_to(victim)
        with pytest.raises(OutputError, match="is no folder") as caught:
            WorkFolder(tmp_path / "out")
        assert caught.value.path == str(work_path(tmp_path / "out"))
        assert [path.name for path in victim.iterdir()] == ["output"]

    def test_another_user_s_folder_is_left_alone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work_path(tmp_path / "out").mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: work_path(tmp_path / "out").stat().st_uid + 1)
        with pytest.raises(OutputError, match="another user"):
            WorkFolder(tmp_path / "out")

    def test_nobody_else_may_enter(self, tmp_path: Path) -> None:
        work = WorkFolder(tmp_path / "out")
        assert work.path.stat().st_mode & 0o777 == 0o700
        work.remove()

    def test_links_in_it_are_not_followed(self, tmp_path: Path) -> None:
        victim = tmp_path / "victim"
        victim.write_bytes(b"mine")
        output = folder_output(tmp_path / "out")
        for name in ("model.safetensors.index.json", output.files[0].name):
            with Writer(output) as made:
                made.begin()
                (made.paths[0].parent / name).unlink()
                (made.paths[0].parent / name).symlink_to(victim)
                with pytest.raises(OutputError):
                    made._write_all_but_tensors()
        assert victim.read_bytes() == b"mine"

    def test_does_not_stay_locked_if_it_cannot_be_used(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work = WorkFolder(tmp_path / "out")
        work.replaced.mkdir()
        work.unlock()
        before = len(list(Path("/dev/fd").iterdir()))
        with monkeypatch.context() as patched:
            TestPublishing.fail_at_rename(patched, "replaced", lambda: OSError(errno.EIO, "broken"))
            with pytest.raises(OutputError, match="broken"):
                WorkFolder(tmp_path / "out")
        assert len(list(Path("/dev/fd").iterdir())) == before
        WorkFolder(tmp_path / "out").remove()
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


class TestJournal:
    def test_statistics_come_back_to_the_bit(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal.json", "digest", 3, NUMEL)
        assert journal.load() is None
        journal.save(ResumePoint(Position(7, 16384), ROWS), inode=99)
        loaded = journal.load()
        assert loaded is not None
        point, inode = loaded
        assert (point.position, inode) == (Position(7, 16384), 99)
        assert point.rows.tobytes() == ROWS.tobytes()
        assert [path.name for path in tmp_path.iterdir()] == ["journal.json"]

    @given(
        values=st.lists(
            st.tuples(st.integers(0, 2**62), st.integers(0, 2**62), st.floats(0), st.floats(0)), max_size=5
        )
    )
    def test_any_statistics(
        self, values: list[tuple[int, int, float, float]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        rows = np.array([*values, (0, 0, 0.0, 0.0)], NATIVE_STATS)
        journal = Journal(tmp_path_factory.mktemp("journal") / "j.json", "d", len(rows), NUMEL)
        journal.save(ResumePoint(Position(), rows), 0)
        loaded = journal.load()
        assert loaded is not None
        np.testing.assert_array_equal(loaded[0].rows, rows)

    @pytest.mark.parametrize(
        "text",
        ["", "null", "[]", "{}", '{"format": 1}', '{"format": 2, "digest": "digest"}', "\x00\xff"],
    )
    def test_damaged_ones_are_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "journal.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(ResumeError, match="without resume") as caught:
            Journal(tmp_path / "journal.json", "digest", 3, NUMEL).load()
        assert caught.value.path == str(tmp_path / "journal.json")

    @pytest.mark.parametrize("position", [(9, 0), (8, 1), (-1, 0), (0, 20_000), (0, -1), (float("inf"), 0)])
    def test_positions_outside_the_plan_are_refused(self, position: tuple[int, int], tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal.json", "digest", 3, NUMEL)
        journal.save(ResumePoint(Position(*position), ROWS), 5)
        with pytest.raises(ResumeError, match="is damaged"):
            journal.load()

    @pytest.mark.parametrize("kind", ["folder", "link"])
    def test_what_is_no_file_is_refused(self, kind: str, tmp_path: Path) -> None:
        journal = Journal(tmp_path / "journal.json", "digest", 3, NUMEL)
        if kind == "folder":
            journal.path.mkdir()
        else:
            journal.save(ResumePoint(Position(), ROWS), 5)
            journal.path.rename(tmp_path / "elsewhere")
            journal.path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ResumeError, match="cannot be read"):
            journal.load()

    def test_more_statistics_than_tensors_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "journal.json"
        Journal(path, "digest", 3, NUMEL).save(ResumePoint(Position(1), ROWS), 5)
        with pytest.raises(ResumeError, match="is damaged"):
            Journal(path, "digest", 1, NUMEL).load()
        with pytest.raises(ResumeError, match="other inputs or options"):
            Journal(path, "another digest", 3, NUMEL).load()
