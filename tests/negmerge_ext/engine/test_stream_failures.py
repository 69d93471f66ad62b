"""What goes wrong while a merge runs: one clear error, nothing half-done, no thread or descriptor left."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from pools import assert_same, make_pool, merge_files, read_file
from programs import start_program

from negmerge_ext.checkpoint import preflight, writer
from negmerge_ext.checkpoint.base import SourceFile
from negmerge_ext.checkpoint.files import FileReader, identify
from negmerge_ext.checkpoint.work_folder import WorkFolder
from negmerge_ext.errors import (
    CheckpointError,
    DiskSpaceError,
    OptionError,
    OutputError,
    OutputExistsError,
    PreflightError,
    ResumeError,
    SourceChangedError,
    VerificationError,
)
from negmerge_ext.stats import MergeReport

#: A budget that holds a block of each tensor.
SMALL = 220_000

pytestmark = pytest.mark.usefixtures("buffers_only")


#: For more than twenty chunks under it.
SHAPES = {"embedding": (600, 500), "norm": (77,), "steps": (1000,), "head": (90, 250)}


def open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No test leaves threads or descriptors behind."""
    threads, descriptors = set(threading.enumerate()), open_descriptors()
    yield
    assert set(threading.enumerate()) == threads
    assert open_descriptors() == descriptors


@pytest.fixture
def journal_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "JOURNAL_SECONDS", 0.0)


class StoppedError(Exception):
    """Raised by a test's own progress function."""


def after(steps: int, act: Callable[[], None]) -> Callable[[int, int], None]:
    """A progress function that acts once, after so many steps."""
    left = [steps]

    def progress(done: int, total: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            act()

    return progress


def stop() -> None:
    raise StoppedError


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestInterrupts:
    def test_an_error_before_any_journal_leaves_nothing(self, tmp_path: Path) -> None:
        paths = make_pool(2, shapes=SHAPES).save(tmp_path)
        before = listing(tmp_path)
        with pytest.raises(StoppedError):
            merge_files(*paths, tmp_path / "out.safetensors", max_memory=SMALL, progress=after(9, stop))
        assert listing(tmp_path) == before

    @pytest.mark.usefixtures("journal_at_once")
    def test_an_interrupt_keeps_what_is_done_and_says_so(self, tmp_path: Path) -> None:
        pool = make_pool(3, shapes=SHAPES)
        paths, out = pool.save(tmp_path), tmp_path / "out.safetensors"

        def interrupt() -> None:
            until(lambda: (tmp_path / ".out.safetensors.partial" / "journal.json").exists())
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt) as caught:
            merge_files(*paths, out, max_memory=SMALL, progress=after(15, interrupt))
        [note] = caught.value.__notes__
        assert ".out.safetensors.partial" in note
        assert "resume" in note
        assert not out.exists()
        report = merge_files(*paths, out, resume=True)
        assert report.resumed
        everything = merge_files(*paths, tmp_path / "again.safetensors")
        assert out.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
        assert report.merged == everything.merged
        assert 0 < report.bytes_read < everything.bytes_read
        assert 0 < report.bytes_written < everything.bytes_written

    @pytest.mark.usefixtures("journal_at_once")
    def test_without_resume_a_merge_starts_over(self, tmp_path: Path) -> None:
        pool = make_pool(3, shapes=SHAPES)
        paths, out = pool.save(tmp_path), tmp_path / "out.safetensors"
        leave_unfinished(*paths, out)
        report = merge_files(*paths, out)
        assert not report.resumed
        assert_same(read_file(out), pool.expected())
        assert not (tmp_path / ".out.safetensors.partial").exists()

    @pytest.mark.usefixtures("journal_at_once")
    @pytest.mark.parametrize(
        "change",
        ["scale", "touched input", "input of the same time", "other output file", "damaged", "other size"],
    )
    def test_another_merge_is_not_continued(self, change: str, tmp_path: Path) -> None:
        pool = make_pool(3, shapes=SHAPES)
        (base, finetuned), out = pool.save(tmp_path), tmp_path / "out.safetensors"
        leave_unfinished(base, finetuned, out)
        work = tmp_path / ".out.safetensors.partial"
        options = {"scale": 0.5} if change == "scale" else {}
        if change == "touched input":
            os.utime(finetuned[1])
        elif change == "input of the same time":
            status = finetuned[1].stat()
            with finetuned[1].open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"?")
            os.utime(finetuned[1], ns=(status.st_atime_ns, status.st_mtime_ns))
        elif change == "other output file":
            (work / "output").rename(work / "moved")
            (work / "output").write_bytes((work / "moved").read_bytes())
        elif change == "damaged":
            (work / "journal.json").write_text((work / "journal.json").read_text()[:-5])
        elif change == "other size":
            os.truncate(work / "output", 100)
        before = listing(work)
        with pytest.raises(ResumeError, match="without resume"):
            merge_files(base, finetuned, out, resume=True, options=options)
        assert listing(work) == before
        merge_files(base, finetuned, out, options=options)
        assert listing(tmp_path) == [
            "base.safetensors",
            *(path.name for path in finetuned),
            "out.safetensors",
        ]

    def test_resuming_with_nothing_to_resume_starts(self, tmp_path: Path) -> None:
        pool = make_pool(2, shapes=SHAPES)
        report = merge_files(*pool.save(tmp_path), tmp_path / "out.safetensors", resume=True)
        assert not report.resumed
        assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())

    @pytest.mark.parametrize("verify", [False, True])
    def test_resuming_what_was_killed_after_publishing_tidies_up(
        self, verify: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, out = make_pool(2, shapes=SHAPES).save(tmp_path), tmp_path / "out.safetensors"
        first = killed_after_publishing(*paths, out, monkeypatch)
        written = identify(out)
        again = merge_files(*paths, out, resume=True, verify=verify)
        assert (again.resumed, again.bytes_written, again.verified) == (True, 0, verify)
        assert (again.merged, again.outputs) == (first.merged, first.outputs)
        assert identify(out) == written
        assert not (tmp_path / ".out.safetensors.partial").exists()

    def test_without_a_journal_nothing_tells_what_an_output_is(self, tmp_path: Path) -> None:
        """Other inputs of the same names and sizes make outputs that look alike."""
        paths, out = make_pool(2, shapes=SHAPES).save(tmp_path), tmp_path / "out.safetensors"
        merge_files(*paths, out)
        with pytest.raises(OutputExistsError):
            merge_files(*paths, out, resume=True)

    @pytest.mark.parametrize("change", ["half-way journal", "other header", "other size", "written to"])
    def test_an_output_that_is_not_what_the_journal_says(
        self, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths, out = make_pool(2, shapes=SHAPES).save(tmp_path), tmp_path / "out.safetensors"
        killed_after_publishing(*paths, out, monkeypatch)
        journal = tmp_path / ".out.safetensors.partial" / "journal.json"
        before = out.stat()
        if change == "half-way journal":
            journal.write_text(journal.read_text().replace('"tensor": ', '"tensor": 0, "was": '))
        elif change == "other size":
            os.truncate(out, before.st_size - 1)
        else:
            with out.open("r+b") as file:
                file.seek(
                    9 if change == "other header" else -1,
                    os.SEEK_SET if change == "other header" else os.SEEK_END,
                )
                file.write(b"?")
        if change != "written to":
            os.utime(out, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(OutputExistsError):
            merge_files(*paths, out, resume=True)

    def test_ctrl_c_ends_a_program_soon(self, tmp_path: Path) -> None:
        """In a process of its own, while the main thread waits for reads or merges."""
        base, finetuned = make_pool(2, shapes={"a": (3000, 1000)}, copied=[]).save(tmp_path)
        program = """
import sys, time
from pathlib import Path
from crashes import merge
from negmerge_ext.engine import reads
read = reads.RangeRead.run
def slowly(self, files):
    time.sleep(0.05)
    read(self, files)
reads.RangeRead.run = slowly
print("ready", flush=True)
merge(Path(sys.argv[1]), Path(sys.argv[2]), 220_000, resume=False)
"""
        out = tmp_path / "out.safetensors"
        process = start_program(program, str(tmp_path), str(out))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        until((tmp_path / ".out.safetensors.partial" / "journal.json").exists)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - began < 10
        assert process.returncode == -signal.SIGINT
        assert "KeyboardInterrupt" in errors
        assert not out.exists()
        merge_files(base, finetuned, out, resume=True)


class TestSources:
    @pytest.mark.parametrize("change", ["shorter", "gone", "other content", "other content, same time"])
    def test_an_input_that_changes_meanwhile(self, change: str, tmp_path: Path) -> None:
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        out = tmp_path / "out.safetensors"
        out.write_bytes(b"old")

        def alter() -> None:
            victim = finetuned[1]
            if change == "shorter":
                os.truncate(victim, 2000)
            elif change == "gone":
                victim.unlink()
            else:
                status = victim.stat()
                content = bytearray(victim.read_bytes())
                content[-1] ^= 1
                if change.endswith("same time"):
                    victim.rename(tmp_path / "moved")
                victim.write_bytes(content)
                if change.endswith("same time"):
                    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))

        with pytest.raises(SourceChangedError) as caught:
            merge_files(base, finetuned, out, max_memory=SMALL, overwrite=True, progress=after(8, alter))
        assert caught.value.path == str(finetuned[1])
        assert out.read_bytes() == b"old"
        assert not (tmp_path / ".out.safetensors.partial").exists()

    def test_a_read_error_is_raised_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A descriptor that the system refuses to read stands for a broken disk."""
        base, finetuned = make_pool(2, shapes=SHAPES).save(tmp_path)
        before, real = listing(tmp_path), FileReader.reading

        @contextmanager
        def one_is_for_writing_only(
            self: FileReader, files: Sequence[SourceFile]
        ) -> Iterator[list[tuple[int, bytes]]]:
            with real(self, files) as opened, Path(os.devnull).open("wb") as null:
                broken = os.fsencode(finetuned[1])
                yield [(null.fileno() if path == broken else number, path) for number, path in opened]

        monkeypatch.setattr(FileReader, "reading", one_is_for_writing_only)
        with pytest.raises(CheckpointError, match="cannot be read at byte") as caught:
            merge_files(base, finetuned, tmp_path / "out.safetensors", max_memory=SMALL)
        assert caught.value.path == str(finetuned[1])
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EBADF
        assert listing(tmp_path) == before


class TestOutputs:
    def test_a_write_error_stops_the_merge(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal_at_once: None
    ) -> None:
        """And what is done is kept: the disk may have room again later."""
        pool = make_pool(2, shapes=SHAPES)
        paths, out = pool.save(tmp_path), tmp_path / "out.safetensors"
        work = tmp_path / ".out.safetensors.partial"
        real = os.pwrite

        def full_later(descriptor: int, data: bytes, offset: int) -> int:
            if len(written) < 2:  # the header and the first chunk
                written.append(offset)
                return real(descriptor, data, offset)
            until = time.monotonic() + 60  # the journal is kept in a thread of its own
            while not (work / "journal.json").exists() and time.monotonic() < until:
                time.sleep(0.005)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        written: list[int] = []
        monkeypatch.setattr(os, "pwrite", full_later)
        with pytest.raises(DiskSpaceError, match="does not fit") as caught:
            merge_files(*paths, out, max_memory=SMALL)
        assert caught.value.path == str(work / "output")
        assert not out.exists()
        monkeypatch.setattr(os, "pwrite", real)
        assert merge_files(*paths, out, resume=True).resumed
        assert_same(read_file(out), pool.expected())

    def test_short_writes_go_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pool, real = make_pool(2, shapes=SHAPES), os.pwrite
        monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:1000], offset))
        merge_files(*pool.save(tmp_path), tmp_path / "out.safetensors")
        assert_same(read_file(tmp_path / "out.safetensors"), pool.expected())

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pool = make_pool(2, shapes=SHAPES)
        paths = pool.save(tmp_path)
        small = tmp_path / "small"
        small.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(small)], capture_output=True, text=True
        )
        if mounted.returncode:
            pytest.skip(f"cannot mount a small disk here: {mounted.stderr.strip()}")
        try:
            with pytest.raises(DiskSpaceError, match=r"bytes are needed and \d+ are free"):
                merge_files(*paths, small / "out.safetensors")
            monkeypatch.setattr(preflight, "free_bytes", lambda folder: None)
            with pytest.raises(DiskSpaceError, match="does not fit"):
                merge_files(*paths, small / "out.safetensors")
            assert listing(small) == []
        finally:
            subprocess.run(["umount", str(small)], check=True)

    def test_a_limit_on_file_sizes(self, tmp_path: Path) -> None:
        make_pool(2, shapes=SHAPES).save(tmp_path)
        program = """
import resource, sys
from pathlib import Path
from crashes import merge
from negmerge_ext.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    merge(Path(sys.argv[1]), Path(sys.argv[1]) / "out.safetensors", 5_000_000, resume=False)
except OutputError as problem:
    print(problem)
"""
        process = start_program(program, str(tmp_path))
        found, errors = process.communicate(timeout=60)
        assert "cannot be written: File too large" in found, errors
        assert not list(tmp_path.glob("*out*"))

    def test_all_problems_are_told_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        paths, out = make_pool(2, shapes=SHAPES).save(tmp_path), tmp_path / "out.safetensors"
        out.write_bytes(b"old")
        monkeypatch.setattr(preflight, "free_bytes", lambda folder: 10)
        with pytest.raises(PreflightError) as caught:
            merge_files(*paths, out, max_memory=1)
        kinds = {type(problem).__name__ for problem in caught.value.problems}
        assert kinds == {"OutputExistsError", "DiskSpaceError", "MemoryBudgetError"}
        assert out.read_bytes() == b"old"

    def test_the_umask_is_honoured(self, tmp_path: Path) -> None:
        paths = make_pool(2, shapes=SHAPES).save(tmp_path)
        for mask in (0o022, 0o077, 0o002):
            before = os.umask(mask)
            try:
                merge_files(*paths, tmp_path / "out.safetensors", overwrite=True)
                merge_files(*paths, tmp_path / f"folder{mask}")
            finally:
                os.umask(before)
            assert (tmp_path / "out.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask
            assert (tmp_path / f"folder{mask}").stat().st_mode & 0o777 == 0o777 & ~mask
            assert (tmp_path / f"folder{mask}" / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask

    def test_an_input_may_be_overwritten(self, tmp_path: Path) -> None:
        pool = make_pool(2, shapes=SHAPES)
        base, finetuned = pool.save(tmp_path)
        with pytest.raises(OutputExistsError):
            merge_files(base, finetuned, base)
        merge_files(base, finetuned, base, overwrite=True)
        assert_same(read_file(base), pool.expected())

    def test_one_merge_at_a_time_writes_an_output(self, tmp_path: Path) -> None:
        paths, out = make_pool(2, shapes=SHAPES).save(tmp_path), tmp_path / "out.safetensors"
        other = WorkFolder(out)
        with pytest.raises(OutputError, match="being written by another merge"):
            merge_files(*paths, out)
        other.unlock()
        merge_files(*paths, out)

    def test_resuming_needs_files(self, tmp_path: Path) -> None:
        from negmerge_ext.engine import stream
        from negmerge_ext.in_memory.state_dict import StateDictSource
        from negmerge_ext.options import Options
        from negmerge_ext.plan import make_plan

        pool = make_pool(1)
        base = StateDictSource(pool.base, "base")
        plan = make_plan(base, [StateDictSource(pool.finetuned[0], "a")], Options.parse())
        with pytest.raises(OptionError, match="cannot be resumed"):
            stream.merge_to_path(
                plan, base, tmp_path / "x.safetensors", stream.Settings(), inputs=["base", "a"], resume=True
            )


class TestVerification:
    @pytest.mark.parametrize("where", ["tensor", "copied", "header"])
    def test_a_flipped_bit_is_found_and_nothing_published(
        self, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pool = make_pool(2, shapes=SHAPES)
        paths, out = pool.save(tmp_path), tmp_path / "out.safetensors"
        merge_files(*paths, tmp_path / "reference.safetensors")
        needle = {
            "tensor": pool.expected()["head"].tobytes()[4000:4040],
            "copied": pool.base["steps"].tobytes()[800:840],
            "header": b"negmerge.method",
        }[where]
        at = (tmp_path / "reference.safetensors").read_bytes().index(needle)
        real = writer.Writer.finish

        def finish_and_flip(self: writer.Writer, *arguments: object) -> None:
            real(self, *arguments)  # type: ignore[arg-type]
            with self.paths[0].open("r+b") as file:
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 16]))

        monkeypatch.setattr(writer.Writer, "finish", finish_and_flip)
        with pytest.raises(VerificationError, match=f"byte {at} of the") as caught:
            merge_files(*paths, out, max_memory=SMALL, verify=True)
        assert caught.value.path == str(out)
        assert caught.value.tensor == {"tensor": "head", "copied": "steps", "header": None}[where]
        assert not out.exists()
        assert not (tmp_path / ".out.safetensors.partial").exists()

    def test_both_passes_count_as_progress(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        report = merge_files(
            *make_pool(2, shapes=SHAPES).save(tmp_path),
            tmp_path / "out.safetensors",
            max_memory=SMALL,
            verify=True,
            progress=lambda done, total: seen.append((done, total)),
        )
        done = [step for step, _ in seen]
        assert done == sorted(done)
        assert (done[0], done[-1]) == (0, report.bytes_read)
        assert {total for _, total in seen} == {report.bytes_read}


def killed_after_publishing(
    base: Path, finetuned: list[Path], out: Path, monkeypatch: pytest.MonkeyPatch
) -> MergeReport:
    """A merge that cannot remove its work folder any more."""
    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "remove", lambda self, *, published: self.unlock())
        return merge_files(base, finetuned, out)


def leave_unfinished(base: Path, finetuned: list[Path], out: Path) -> None:
    """What a merge leaves that was stopped half-way."""
    journal = out.with_name(f".{out.name}.partial") / "journal.json"

    def stop_with_journal() -> None:
        until(journal.exists)
        raise StoppedError

    with pytest.raises(StoppedError):
        merge_files(base, finetuned, out, max_memory=SMALL, progress=after(15, stop_with_journal))
    assert journal.exists()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.002)
