from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest
from data_files import Server, archive, serving
from negmerge.data.get.download import download
from negmerge.data.get.listener import Listener
from negmerge.errors import ChecksumError, FetchError, NetworkError

from negmerge_ext.errors import DiskSpaceError

CONTENT = bytes(range(256)) * 4000
NOWHERE = "http://127.0.0.1:9/file"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        running.content = CONTENT
        yield running


def test_a_file_arrives_and_its_progress_is_told(server, tmp_path):
    told: list[tuple[str, int, int]] = []

    class Told(Listener):
        def received(self, name: str, done: int, total: int) -> None:
            told.append((name, done, total))

    path = download(archive("a.bin", CONTENT, f"{server.url}/a"), tmp_path, Told())
    assert path == tmp_path / "a.bin"
    assert path.read_bytes() == CONTENT
    assert told[-1] == ("a.bin", len(CONTENT), len(CONTENT))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_the_next_server_is_asked_when_one_fails(server, tmp_path):
    urls = (NOWHERE, f"{server.url}/absent", f"{server.url}/a")
    assert download(archive("a.bin", CONTENT, *urls), tmp_path, Listener()).read_bytes() == CONTENT


def test_an_interrupted_download_goes_on(server, tmp_path):
    wanted = archive("a.bin", CONTENT, f"{server.url}/a")
    server.ends_after = 300_000
    with pytest.raises(NetworkError):
        download(wanted, tmp_path, Listener())
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert 0 < kept <= 300_000
    server.ends_after = None
    assert download(wanted, tmp_path, Listener()).read_bytes() == CONTENT
    assert server.asked == [0, kept]


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(b"something else")
    server.takes_ranges = False
    wanted = archive("a.bin", CONTENT, f"{server.url}/a")
    assert download(wanted, tmp_path, Listener()).read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [CONTENT[:-1] + b"x", CONTENT + b"more"])
def test_another_file_is_refused_and_removed(server, tmp_path, sent):
    server.content = sent
    with pytest.raises(ChecksumError, match=r"a\.bin is not the published file: .*SHA-256"):
        download(archive("a.bin", CONTENT, f"{server.url}/a"), tmp_path, Listener())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"), [(NOWHERE, "cannot be reached: .*refused"), ("absent", "the server answered 404")]
)
def test_a_server_that_is_not_there_is_named(server, tmp_path, url, says):
    url = url if "://" in url else f"{server.url}/{url}"
    with pytest.raises(NetworkError, match=says) as problem:
        download(archive("a.bin", CONTENT, url), tmp_path, Listener())
    assert problem.value.path == url


def test_a_file_that_no_server_has(tmp_path):
    with pytest.raises(FetchError, match="no server has it"):
        download(archive("a.bin", CONTENT), tmp_path, Listener())


def test_too_little_room_is_said_before_anything_is_fetched(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 0, 10))
    with pytest.raises(DiskSpaceError, match=r"10 are free.*data-dir"):
        download(archive("a.bin", CONTENT, f"{server.url}/a"), tmp_path, Listener())
    assert server.asked == []
    assert list(Path(tmp_path).iterdir()) == []
