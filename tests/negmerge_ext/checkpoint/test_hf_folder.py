"""Model folders: which files count, what an index may say, what travels along."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from negmerge_ext.checkpoint import Checkpoint, open_checkpoint
from negmerge_ext.errors import CheckpointError

INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def arrays(*names: str) -> dict[str, np.ndarray]:
    return {name: np.full(3, float(position), np.float32) for position, name in enumerate(names)}


def write_index(folder: Path, weight_map: Any, *, name: str = INDEX, **more: Any) -> None:
    (folder / name).write_text(json.dumps({"weight_map": weight_map, **more}))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """A folder of two shards: a, b in the first, c in the second."""
    save_file(arrays("a", "b"), tmp_path / SHARDS[0], metadata={"format": "pt"})
    save_file(arrays("c"), tmp_path / SHARDS[1])
    weight_map = {"c": SHARDS[1], "b": SHARDS[0], "a": SHARDS[0]}
    write_index(tmp_path, weight_map, metadata={"total_size": 36, "total_parameters": 9})
    return tmp_path


def refuse(folder: Path, fault: str) -> CheckpointError:
    with pytest.raises(CheckpointError, match=fault) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value)
    return caught.value


def file_names(checkpoint: Checkpoint) -> list[str]:
    return [file.path.name for file in checkpoint.files]


class TestWeights:
    def test_shards_by_their_index(self, sharded: Path) -> None:
        found = open_checkpoint(sharded)
        assert (found.path, found.format) == (sharded, "hf_folder")
        assert file_names(found) == list(SHARDS)
        assert {name: tensor.file for name, tensor in found.tensors.items()} == {"a": 0, "b": 0, "c": 1}
        assert found.metadata == ({"format": "pt"}, {})
        assert found.index_metadata == {"total_size": 36, "total_parameters": 9}
        for name, tensor in found.tensors.items():
            raw = found.files[tensor.file].path.read_bytes()[tensor.offset : tensor.offset + 12]
            assert raw == (arrays("a", "b") | arrays("c"))[name].tobytes()

    def test_a_single_file(self, tmp_path: Path) -> None:
        save_file(arrays("a"), tmp_path / "model.safetensors")
        found = open_checkpoint(tmp_path)
        assert (file_names(found), found.index_metadata) == (["model.safetensors"], None)

    @pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "open_clip_model.safetensors"])
    def test_a_single_file_under_another_name(self, tmp_path: Path, name: str) -> None:
        save_file(arrays("a"), tmp_path / name)
        (tmp_path / "training_args.bin").write_bytes(b"whatever")
        assert file_names(open_checkpoint(tmp_path)) == [name]

    def test_torch_files_where_there_are_no_others(self, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(2)}, tmp_path / "pytorch_model.bin")
        assert file_names(open_checkpoint(tmp_path)) == ["pytorch_model.bin"]
        save_file(arrays("a"), tmp_path / "model.safetensors")
        assert file_names(open_checkpoint(tmp_path)) == ["model.safetensors"]

    def test_torch_shards(self, tmp_path: Path) -> None:
        shards = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
        for shard, name in zip(shards, "ab", strict=True):
            torch.save({name: torch.ones(2)}, tmp_path / shard)
        write_index(tmp_path, dict(zip("ab", shards, strict=True)), name="pytorch_model.bin.index.json")
        found = open_checkpoint(tmp_path)
        assert file_names(found) == shards
        assert (found.tensors["b"].file, found.metadata, found.index_metadata) == (1, ({}, {}), {})

    def test_an_index_of_the_single_file(self, tmp_path: Path) -> None:
        save_file(arrays("a"), tmp_path / "model.safetensors")
        write_index(tmp_path, {"a": "model.safetensors"})
        assert open_checkpoint(tmp_path).index_metadata == {}

    def test_a_single_file_beside_the_index_of_others(self, sharded: Path) -> None:
        save_file(arrays("a", "b", "c"), sharded / "model.safetensors")
        refuse(sharded, "two versions")

    def test_other_weights_beside_the_shards_do_not_count(self, sharded: Path) -> None:
        save_file(arrays("x"), sharded / "consolidated.safetensors")
        assert file_names(open_checkpoint(sharded)) == list(SHARDS)

    def test_several_files_without_an_index(self, sharded: Path) -> None:
        (sharded / INDEX).unlink()
        assert SHARDS[1] in str(refuse(sharded, "several safetensors files"))

    def test_no_weights_at_all(self, tmp_path: Path) -> None:
        refuse(tmp_path, "it is empty")
        (tmp_path / "config.json").write_text("{}")
        (tmp_path / "tf_model.h5").write_bytes(b"")
        refuse(tmp_path, "it has config.json, tf_model.h5")

    def test_a_folder_in_place_of_the_weights(self, tmp_path: Path) -> None:
        (tmp_path / "model.safetensors").mkdir()
        refuse(tmp_path, "is a folder")


class TestIndex:
    @pytest.mark.parametrize(
        "shard",
        [
            "../x.safetensors",
            "/etc/passwd",
            "sub/x.safetensors",
            "..",
            ".",
            "",
            "a\\..\\b",
            "a\0b",
            3,
            None,
            ["a"],
        ],
    )
    def test_shards_must_be_bare_names(self, sharded: Path, shard: Any) -> None:
        # The files exist, so that nothing but the rule keeps them from being read.
        save_file(arrays("c"), sharded.parent / "x.safetensors")
        (sharded / "sub").mkdir()
        save_file(arrays("c"), sharded / "sub" / "x.safetensors")
        write_index(sharded, {"a": SHARDS[0], "b": SHARDS[0], "c": shard})
        error = refuse(sharded, "not the bare name")
        assert (error.path, error.tensor) == (str(sharded / INDEX), "c")

    def test_links_of_a_download_cache_are_followed(self, sharded: Path) -> None:
        blobs = sharded / "blobs"
        snapshot = sharded / "snapshots" / "main"
        blobs.mkdir()
        snapshot.mkdir(parents=True)
        for number, name in enumerate([*SHARDS, INDEX]):
            (sharded / name).rename(blobs / str(number))
            (snapshot / name).symlink_to(Path("../../blobs") / str(number))
        (blobs / "config").write_text("{}")
        (snapshot / "config.json").symlink_to("../../blobs/config")
        found = open_checkpoint(snapshot)
        assert set(found.tensors) == {"a", "b", "c"}
        assert found.companions == (snapshot / "config.json",)

    @pytest.mark.parametrize("name", [*SHARDS, INDEX])
    def test_links_to_weights_kept_elsewhere_are_followed(self, sharded: Path, name: str) -> None:
        folder = sharded / "model"
        folder.mkdir()
        for entry in (*SHARDS, INDEX):
            (sharded / entry).rename(folder / entry)
        (folder / name).rename(sharded / "elsewhere")
        (folder / name).symlink_to("../elsewhere")
        assert set(open_checkpoint(folder).tensors) == {"a", "b", "c"}

    def test_a_link_to_the_folder_itself_is_followed(self, sharded: Path) -> None:
        link = sharded.parent / f"{sharded.name}-link"
        link.symlink_to(sharded)
        assert open_checkpoint(link).path == link
        assert open_checkpoint(link).files[0].path.parent == link

    @pytest.mark.parametrize(
        ("target", "fault"),
        [
            ("/", "is a folder"),
            ("nothing", "does not exist"),
            ("/dev/zero", "not a regular file"),
            (SHARDS[1], "cannot be opened"),
        ],
    )
    def test_links_to_anything_but_a_file(self, sharded: Path, target: str, fault: str) -> None:
        (sharded / SHARDS[1]).unlink()
        (sharded / SHARDS[1]).symlink_to(target)
        assert refuse(sharded, fault).path == str(sharded / SHARDS[1])

    def test_a_fifo_does_not_block(self, sharded: Path) -> None:
        (sharded / SHARDS[0]).unlink()
        os.mkfifo(sharded / SHARDS[0])
        refuse(sharded, "not a regular file")

    def test_every_bad_shard_is_named(self, sharded: Path) -> None:
        (sharded / SHARDS[0]).unlink()
        (sharded / SHARDS[1]).write_bytes(b"\xff" * 20)
        error = refuse(sharded, "does not exist")
        assert [problem.path for problem in error.problems] == [str(sharded / shard) for shard in SHARDS]

    @pytest.mark.parametrize(
        ("weight_map", "tensor", "fault"),
        [
            ({"a": 0, "b": 0, "c": 1, "d": 1}, "d", f"listed in the index under {SHARDS[1]}, but not there"),
            ({"a": 0, "c": 1}, "b", "the index does not list it"),
            ({"a": 0, "b": 1, "c": 1}, "b", f"is in {SHARDS[0]}, but the index says {SHARDS[1]}"),
        ],
    )
    def test_index_and_shards_must_agree(
        self, sharded: Path, weight_map: dict[str, int], tensor: str, fault: str
    ) -> None:
        write_index(sharded, {name: SHARDS[shard] for name, shard in weight_map.items()})
        assert refuse(sharded, fault).tensor == tensor

    def test_a_tensor_in_two_shards(self, sharded: Path) -> None:
        save_file(arrays("c", "a"), sharded / SHARDS[1])
        assert refuse(sharded, f"in several shards: {SHARDS[0]}, {SHARDS[1]}").tensor == "a"

    def test_many_disagreements_are_listed_up_to_a_point(self, sharded: Path) -> None:
        save_file(arrays(*(f"x{i}" for i in range(200))), sharded / SHARDS[1])
        error = refuse(sharded, "more tensors like these")
        assert 10 < len(error.problems) < 30

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "not valid JSON"),
            ("[]", "not a JSON object"),
            ("{}", "no weight_map"),
            ('{"weight_map": []}', "no weight_map"),
            ('{"weight_map": {}}', "no weight_map"),
            ('{"weight_map": {"a": "x", "a": "y"}}', "'a' twice"),
            ('{"weight_map":' * 10**5, "nested too deeply"),
        ],
    )
    def test_malformed(self, sharded: Path, text: str, fault: str) -> None:
        (sharded / INDEX).write_text(text)
        assert refuse(sharded, fault).path == str(sharded / INDEX)

    def test_too_long_to_be_one(self, sharded: Path) -> None:
        os.truncate(sharded / INDEX, 10**10)
        refuse(sharded, "too many for an index")

    @pytest.mark.parametrize("metadata", [None, 3, "x"])
    def test_metadata_of_another_kind_count_as_none(self, sharded: Path, metadata: Any) -> None:
        index = json.loads((sharded / INDEX).read_text())
        write_index(sharded, index["weight_map"], metadata=metadata)
        assert open_checkpoint(sharded).index_metadata == {}


def test_what_belongs_to_the_model_travels_along(sharded: Path) -> None:
    carried = [
        "LICENSE", "README.md", "added_tokens.json", "chat_template.jinja", "config.json",
        "generation_config.json",
        "merges.txt", "modeling_custom.py", "preprocessor_config.json", "special_tokens_map.json",
        "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.txt",
    ]  # fmt: skip
    left = [
        "consolidated.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "model.gguf",
        "model.ONNX",
        "optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json",
        "pytorch_model.bin.index.json", ".gitattributes", ".env", "events.out.tfevents.1700000000.host.1.0",
    ]  # fmt: skip
    for name in carried + left:
        (sharded / name).write_text("{}")
    (sharded / "folder.json").mkdir()
    os.mkfifo(sharded / "pipe.txt")
    (sharded / "dangling.txt").symlink_to("nothing")
    found = open_checkpoint(sharded).companions
    assert [path.name for path in found] == sorted(carried)
    assert all(path.is_absolute() for path in found)


def test_companions_are_absolute_even_if_the_folder_is_not(
    sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (sharded / "config.json").write_text("{}")
    monkeypatch.chdir(sharded.parent)
    found = open_checkpoint(sharded.name)
    assert found.companions == (sharded / "config.json",)
    assert found.label == sharded.name
