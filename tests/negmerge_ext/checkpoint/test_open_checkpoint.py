"""A path leads to the right reader, whatever the file is called."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save, save_file

from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.errors import CheckpointError

ARRAYS = {"a": np.arange(4, dtype=np.float32), "b": np.zeros((0, 2), np.float16)}


@pytest.mark.parametrize("name", ["m.safetensors", "m.bin", "m.pt", "m", "m.weights"])
def test_safetensors_under_any_name(tmp_path: Path, name: str) -> None:
    save_file(ARRAYS, tmp_path / name)
    found = open_checkpoint(tmp_path / name)
    assert found.format == "safetensors"
    assert found.label == str(tmp_path / name)
    assert found.tensors.keys() == ARRAYS.keys()


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.bin", "m.ckpt", "m"])
def test_torch_files_under_any_name_but_one(tmp_path: Path, name: str) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / name)
    assert open_checkpoint(tmp_path / name).format == "torch_file"


def test_a_pickle_does_not_pass_for_safetensors(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "m.safetensors")
    with pytest.raises(CheckpointError, match="zip archive") as caught:
        open_checkpoint(tmp_path / "m.safetensors")
    assert caught.value.remedy is not None


def test_text_and_path_objects_are_taken(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "m.safetensors")
    assert open_checkpoint(str(tmp_path / "m.safetensors")) == open_checkpoint(tmp_path / "m.safetensors")


def test_rows_give_locations_in_the_order_asked_for(tmp_path: Path) -> None:
    whole = torch.randn(3, 4)
    torch.save({"a": whole, "t": whole.t(), "c": torch.ones(2)}, tmp_path / "m.pt")
    found = open_checkpoint(tmp_path / "m.pt")
    rows = found.rows(["c", "t", "a"])
    assert rows.files == found.files
    assert rows.file.tolist() == [0, 0, 0]
    assert rows.offset.tolist() == [found.tensors[name].offset for name in ("c", "t", "a")]
    assert rows.strides == {1: (1, 4)}


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("m.safetensors", b"", "empty|too few"),
        ("m.pt", b"", "is empty"),
        ("m.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("m.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        ("m.safetensors", b"\x93NUMPY" * 20, "not a safetensors file"),
        ("m.gguf", b"GGUF" * 20, "neither a safetensors file nor a zip"),
        ("m.safetensors", save(ARRAYS)[:-1], "beyond the end of the file"),
        ("m.bin", save(ARRAYS)[:-1], "beyond the end of the file"),
    ],
)
def test_other_files_are_refused_with_their_name(
    tmp_path: Path, name: str, content: bytes, fault: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=fault) as caught:
        open_checkpoint(path)
    assert caught.value.path == str(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    for path in (tmp_path / "m.safetensors", tmp_path / "absent.pt", Path("/dev/null"), Path("nul\0")):
        with pytest.raises(CheckpointError):
            open_checkpoint(path)


def test_torch_is_imported_for_torch_files_only(tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "model.safetensors")
    script = (
        "import sys; from negmerge_ext.checkpoint import open_checkpoint;"
        "[open_checkpoint(path) for path in sys.argv[1:]]; assert 'torch' not in sys.modules"
    )
    arguments = [sys.executable, "-c", script, str(tmp_path), str(tmp_path / "model.safetensors")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(arguments, check=True, env=environment)
