"""Reading byte ranges: bounded descriptors, threads, files that change, strided gathers."""

from __future__ import annotations

import errno
import os
import resource
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from negmerge_ext.checkpoint import strided
from negmerge_ext.checkpoint.base import SourceFile
from negmerge_ext.checkpoint.files import FileReader, identify
from negmerge_ext.errors import CheckpointError, SourceChangedError


@pytest.fixture
def descriptors() -> Iterator[Callable[[], int]]:
    """How many descriptors have been opened since the test began; none may be left at its end."""
    before = len(open_descriptors())
    yield lambda: len(open_descriptors()) - before
    assert len(open_descriptors()) == before


def open_descriptors() -> list[int]:
    return [int(entry.name) for entry in Path("/dev/fd").iterdir()]


def numbered(folder: Path, count: int, size: int = 1000) -> list[SourceFile]:
    """``count`` files whose bytes are all the file's own number."""
    files = []
    for number in range(count):
        path = folder / f"{number}.data"
        path.write_bytes(bytes([number]) * size)
        files.append(identify(path))
    return files


def read(reader: FileReader, file: SourceFile, offset: int, size: int) -> bytes:
    buffer = bytearray(size)
    reader.read_into(file, offset, memoryview(buffer))
    return bytes(buffer)


class TestIdentify:
    def test_takes_what_the_file_system_says(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"12345")
        status = path.stat()
        assert identify(path) == SourceFile(path, 5, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def test_follows_symbolic_links(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"12345")
        (tmp_path / "link").symlink_to("a")
        assert identify(tmp_path / "link").inode == identify(tmp_path / "a").inode

    def test_refuses_what_is_not_a_regular_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "dangling").symlink_to("nothing")
        (tmp_path / "file").write_bytes(b"")
        for path, fault in [
            (tmp_path, "is a folder"),
            (tmp_path / "fifo", "not a regular file"),
            (tmp_path / "loop", "cannot be opened"),
            (tmp_path / "dangling", "link to something that does not exist"),
            (tmp_path / "absent", "does not exist"),
            (tmp_path / "file" / "below", "cannot be opened"),
            (Path("/dev/null"), "not a regular file"),
            (tmp_path / "nul\0byte", "cannot be opened"),
        ]:
            with pytest.raises(CheckpointError, match=fault) as caught:
                identify(path)
            assert caught.value.path == str(path)

    def test_says_so_if_permission_is_lacking(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Permission bits do not stop root, which tests may run as.
        def refuse(path: Path, flags: int) -> int:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(CheckpointError, match="may not be read"):
            identify(tmp_path / "secret")


class TestReadInto:
    def test_gives_the_bytes_asked_for(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(bytes(range(256)))
        with FileReader() as reader:
            assert read(reader, identify(path), 10, 100) == bytes(range(10, 110))
            assert read(reader, identify(path), 256, 0) == b""

    def test_fills_a_buffer_of_any_item_type(self, tmp_path: Path) -> None:
        values = np.arange(10, dtype=np.float32)
        (tmp_path / "a").write_bytes(values.tobytes())
        found = np.zeros_like(values)
        with FileReader() as reader:
            reader.read_into(identify(tmp_path / "a"), 0, memoryview(found))
        np.testing.assert_array_equal(found, values)

    def test_goes_on_after_short_reads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        content = os.urandom(1000)
        (tmp_path / "a").write_bytes(content)
        whole = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: whole(fd, [buffers[0][:7]], offset))
        with FileReader() as reader:
            assert read(reader, identify(tmp_path / "a"), 5, 900) == content[5:905]

    def test_names_the_file_on_read_errors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        [file] = numbered(tmp_path, 1)
        with FileReader() as reader:
            monkeypatch.setattr(os, "preadv", fail)
            with pytest.raises(CheckpointError, match="byte 3") as caught:
                read(reader, file, 3, 1)
        assert caught.value.path == str(file.path)


class TestDescriptors:
    def test_no_more_are_open_than_allowed(self, tmp_path: Path, descriptors: Callable[[], int]) -> None:
        files = numbered(tmp_path, 20)
        with FileReader(max_open=3) as reader:
            for file in files * 2:
                assert set(read(reader, file, 1, 10)) == {files.index(file)}
                assert descriptors() <= 3

    def test_the_least_recently_used_is_closed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b, c = numbered(tmp_path, 3)
        opened: list[Path] = []
        whole = os.open
        monkeypatch.setattr(os, "open", lambda path, flags: opened.append(path) or whole(path, flags))
        with FileReader(max_open=2) as reader:
            for file in (a, b, a, c, a, b):
                read(reader, file, 0, 1)
        assert opened == [a.path, b.path, c.path, b.path]

    def test_many_threads_share_few(self, tmp_path: Path, descriptors: Callable[[], int]) -> None:
        files = numbered(tmp_path, 12, size=50_000)
        random = np.random.default_rng(0)
        with FileReader(max_open=2) as reader, ThreadPoolExecutor(8) as pool:
            wanted = [int(number) for number in random.integers(0, len(files), 600)]
            found = pool.map(lambda number: set(read(reader, files[number], 17, 40_000)), wanted)
            assert [min(values) if len(values) == 1 else None for values in found] == wanted

    def test_one_in_use_is_never_closed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        slow, other = numbered(tmp_path, 2)
        reading, go_on = threading.Event(), threading.Event()
        whole = os.preadv

        def wait_at_first(fd: int, buffers: list[memoryview], offset: int) -> int:
            if not reading.is_set():
                reading.set()
                assert go_on.wait(30)
            return whole(fd, buffers, offset)

        monkeypatch.setattr(os, "preadv", wait_at_first)
        with FileReader(max_open=1) as reader, ThreadPoolExecutor(2) as pool:
            first = pool.submit(read, reader, slow, 0, 100)
            assert reading.wait(30)
            second = pool.submit(read, reader, other, 0, 100)
            assert not second.done()
            go_on.set()
            assert (set(first.result()), set(second.result())) == ({0}, {1})

    def test_a_failed_open_lets_others_go_on(self, tmp_path: Path) -> None:
        files = numbered(tmp_path, 6)
        files[3].path.unlink()
        with FileReader(max_open=1) as reader, ThreadPoolExecutor(4) as pool:
            results = [pool.submit(read, reader, file, 0, 10) for file in files]
            for number, result in enumerate(results):
                if number == 3:
                    with pytest.raises(SourceChangedError, match="is gone"):
                        result.result()
                else:
                    assert set(result.result()) == {number}

    def test_the_system_limit_is_coped_with(self, tmp_path: Path, descriptors: Callable[[], int]) -> None:
        files = numbered(tmp_path, 30)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        in_use = max(open_descriptors()) + 1
        with FileReader(max_open=1000) as reader:
            resource.setrlimit(resource.RLIMIT_NOFILE, (in_use + 8, limits[1]))
            try:
                for number, file in enumerate(files):
                    assert set(read(reader, file, 0, 10)) == {number}
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    def test_none_at_all_is_an_error(self, tmp_path: Path) -> None:
        [file] = numbered(tmp_path, 1)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with FileReader() as reader:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
            try:
                with pytest.raises(CheckpointError, match="cannot be opened"):
                    read(reader, file, 0, 10)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            assert set(read(reader, file, 0, 10)) == {0}


def change_time(file: SourceFile) -> None:
    os.utime(file.path, ns=(0, file.mtime_ns + 1))


def change_size(file: SourceFile) -> None:
    with file.path.open("ab") as stream:
        stream.write(b"more")
    os.utime(file.path, ns=(0, file.mtime_ns))


def replace(file: SourceFile) -> None:
    copy = file.path.with_suffix(".new")
    copy.write_bytes(file.path.read_bytes())
    os.utime(copy, ns=(0, file.mtime_ns))
    copy.replace(file.path)


def replace_by_fifo(file: SourceFile) -> None:
    file.path.unlink()
    os.mkfifo(file.path)


class TestChangedFiles:
    @pytest.mark.parametrize(
        "change", [change_time, change_size, replace, replace_by_fifo, lambda file: file.path.unlink()]
    )
    def test_are_refused_when_opened_again(
        self, tmp_path: Path, change: Callable[[SourceFile], None], descriptors: Callable[[], int]
    ) -> None:
        file, other = numbered(tmp_path, 2)
        with FileReader(max_open=1) as reader:
            read(reader, file, 0, 10)
            read(reader, other, 0, 10)
            change(file)
            with pytest.raises(SourceChangedError) as caught:
                read(reader, file, 0, 10)
            assert caught.value.path == str(file.path)

    def test_are_refused_when_they_end_too_early(self, tmp_path: Path) -> None:
        [file] = numbered(tmp_path, 1)
        with FileReader() as reader:
            read(reader, file, 0, 10)
            os.truncate(file.path, 600)
            assert set(read(reader, file, 0, 600)) == {0}
            with pytest.raises(SourceChangedError, match="ends at byte 600"):
                read(reader, file, 500, 200)
            with pytest.raises(SourceChangedError, match="ends at byte 600"):
                reader.read_elements(file, 0, (1, 10), (10, 100), 1, 0, 100, memoryview(bytearray(100)))

    def test_are_refused_when_they_are_cut_short_during_a_gather(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [file] = numbered(tmp_path, 1, size=400_000)
        read_at = os.preadv

        def read_and_truncate(descriptor: int, buffers: list[memoryview], offset: int) -> int:
            count = read_at(descriptor, buffers, offset)
            os.truncate(file.path, 10_000)
            return count

        monkeypatch.setattr(os, "preadv", read_and_truncate)
        with FileReader() as reader, pytest.raises(SourceChangedError) as caught:
            reader.read_elements(file, 0, (1, 40_000), (100, 10), 1, 0, 1000, memoryview(bytearray(1000)))
        assert caught.value.path == str(file.path)


@st.composite
def views(draw: st.DrawFn) -> np.ndarray:
    """A view of a packed array that keeps its element order no more: permuted, sliced, broadcast axes."""
    dtype = draw(st.sampled_from(["u1", "f2", "f4", "f8", "V3"]))
    shape = draw(st.lists(st.integers(1, 5), max_size=4))
    count = int(np.prod(shape))
    packed = np.arange(count * np.dtype(dtype).itemsize, dtype=np.uint8).view(dtype).reshape(shape)
    view = packed.transpose(draw(st.permutations(range(len(shape)))))
    for axis in range(view.ndim):
        start, step = draw(st.integers(0, view.shape[axis])), draw(st.integers(1, 3))
        view = view[(slice(None),) * axis + (slice(start, None, step),)]
    if draw(st.booleans()):
        view = np.broadcast_to(view, (draw(st.integers(0, 3)), *view.shape))
    return view


@given(views(), st.data(), st.integers(0, 9), st.sampled_from([8, 20, 1000]), st.sampled_from([0, 9, 4096]))
def test_strided_elements_are_gathered_in_row_major_order(
    tmp_path: Path, view: np.ndarray, data: st.DataObject, padding: int, scratch: int, gap: int
) -> None:
    packed = view
    while isinstance(packed.base, np.ndarray):
        packed = packed.base
    path = tmp_path / "tensor"
    path.write_bytes(bytes(padding) + packed.tobytes())
    begin = data.draw(st.integers(0, view.size))
    end = data.draw(st.integers(begin, view.size))
    offset = padding + view.__array_interface__["data"][0] - packed.__array_interface__["data"][0]
    strides = [stride // view.itemsize for stride in view.strides]
    buffer = bytearray((end - begin) * view.itemsize)
    with FileReader() as reader, pytest.MonkeyPatch.context() as patch:
        patch.setattr(strided, "SCRATCH", scratch)
        patch.setattr(strided, "_GAP", gap)
        reader.read_elements(
            identify(path), offset, strides, view.shape, view.itemsize, begin, end, memoryview(buffer)
        )
    assert bytes(buffer) == view.flatten()[begin:end].tobytes()


def test_a_gather_takes_bounded_memory_however_far_apart_its_elements_lie(tmp_path: Path) -> None:
    path, count, stride = tmp_path / "tensor", 50_000, 5_000
    with path.open("wb") as stream:
        stream.truncate(4 * count * stride)  # a hole takes no room on the disk
    file, buffer = identify(path), memoryview(bytearray(4 * count))
    with FileReader() as reader:
        tracemalloc.start()
        try:
            reader.read_elements(file, 0, (stride,), (count,), 4, 0, count, buffer)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak <= strided.SCRATCH + (64 << 10)
