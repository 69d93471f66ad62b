"""Deciding what is written: file or folder, names, metadata, index; and what stands in the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pools import make_pool, write_file, write_folder
from state_dicts import as_torch

from negmerge_ext.checkpoint import open_checkpoint, preflight
from negmerge_ext.checkpoint.base import Checkpoint
from negmerge_ext.checkpoint.output import Output, plan_output
from negmerge_ext.checkpoint.preflight import output_problems
from negmerge_ext.checkpoint.safetensors import read_header
from negmerge_ext.errors import CheckpointError, DiskSpaceError, OptionError, OutputError, OutputExistsError
from negmerge_ext.in_memory.state_dict import StateDictSource
from negmerge_ext.plan import PlannedTensor

SHARDS = {"model-00001-of-00002.safetensors": ["a", "n"], "model-00002-of-00002.safetensors": ["b"]}
POOL = make_pool(1, shapes={"a": (3, 4), "n": (5,), "b": (7,)}, copied=["n"])


def output_of(base: Checkpoint | StateDictSource, out: Path, out_dtype: str | None = None) -> Output:
    tensors = [
        PlannedTensor(name, info.shape, info.dtype, out_dtype or info.dtype, "F32")
        for name, info in base.tensors.items()
    ]
    return plan_output(base, tensors, out, {"negmerge.scale": "1.0"})


@pytest.fixture
def single(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_file(tmp_path / "base.safetensors", POOL.base, {"format": "pt", "k": "v"}))


@pytest.fixture
def sharded(tmp_path: Path) -> Checkpoint:
    return open_checkpoint(write_folder(tmp_path / "base", SHARDS, POOL.base))


class TestKind:
    def test_a_safetensors_name_is_a_file(
        self, single: Checkpoint, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        for base in (single, sharded, StateDictSource(POOL.base, "base")):
            output = output_of(base, tmp_path / "out.safetensors")
            assert not output.folder
            assert output.paths == (tmp_path / "out.safetensors",)
            assert output.names == ("out.safetensors",)

    @pytest.mark.parametrize("name", ["out", "there"])
    def test_anything_else_is_a_folder(self, name: str, single: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        for base in (single, StateDictSource(POOL.base, "base")):
            output = output_of(base, tmp_path / name)
            assert output.folder
            assert output.paths == (tmp_path / name / "model.safetensors",)
            assert output.texts == {}

    def test_a_folder_may_have_a_dot_if_the_base_is_one_or_it_is_there(
        self, single: Checkpoint, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        assert output_of(sharded, tmp_path / "model-v0.5").folder
        with pytest.raises(OptionError, match="neither file nor folder"):
            output_of(single, tmp_path / "model-v0.5")
        (tmp_path / "model-v0.5").mkdir()
        assert output_of(single, tmp_path / "model-v0.5").folder

    @pytest.mark.parametrize("suffix", [".pt", ".PTH", ".bin", ".ckpt"])
    def test_torch_files_are_not_written(self, suffix: str, sharded: Checkpoint, tmp_path: Path) -> None:
        with pytest.raises(OptionError, match=r"ends in \.safetensors"):
            output_of(sharded, tmp_path / f"out{suffix}")

    def test_a_file_is_not_taken_for_a_folder_nor_the_reverse(
        self, single: Checkpoint, tmp_path: Path
    ) -> None:
        (tmp_path / "out").write_bytes(b"")
        (tmp_path / "folder.safetensors").mkdir()
        with pytest.raises(OutputError, match="is a file, and a folder"):
            output_of(single, tmp_path / "out")
        with pytest.raises(OutputError, match="is a folder, and the name"):
            output_of(single, tmp_path / "folder.safetensors")

    def test_symbolic_links_are_followed(self, single: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "out.safetensors").symlink_to(tmp_path / "elsewhere" / "real.safetensors")
        output = output_of(single, tmp_path / "out.safetensors")
        assert output.paths == (tmp_path / "elsewhere" / "real.safetensors",)


class TestContent:
    def test_headers_and_places_agree(self, sharded: Checkpoint, tmp_path: Path) -> None:
        output = output_of(sharded, tmp_path / "out")
        for number, file in enumerate(output.files):
            path = tmp_path / file.name
            path.write_bytes(file.layout.header)
            with path.open("r+b") as opened:
                opened.truncate(file.layout.size)
            for name, stored in read_header(path).tensors.items():
                index = list(sharded.tensors).index(name)
                assert (output.file[index], output.offset[index]) == (number, stored.offset)

    def test_a_folder_keeps_sharding_index_and_companions(self, sharded: Checkpoint, tmp_path: Path) -> None:
        output = output_of(sharded, tmp_path / "out", out_dtype="F64")
        assert output.names == (*SHARDS, "model.safetensors.index.json", "config.json")
        text = output.texts["model.safetensors.index.json"]
        index = json.loads(text)
        assert index["weight_map"] == {name: file for file, names in SHARDS.items() for name in names}
        assert index["metadata"] == {"maker": "a test", "total_size": 8 * (12 + 5 + 7)}
        companion = (sharded.path / "config.json").stat().st_size
        weights = sum(file.layout.size for file in output.files)
        assert output.nbytes == weights + len(text) + companion

    @pytest.mark.parametrize("prefix", ["pytorch_model", "diffusion_pytorch_model"])
    def test_shards_of_torch_files_become_safetensors(self, prefix: str, tmp_path: Path) -> None:
        folder = tmp_path / "base"
        folder.mkdir()
        shards = {f"{prefix}-0000{k}-of-00002.bin": names for k, names in enumerate(SHARDS.values(), 1)}
        for file, names in shards.items():
            torch.save({name: as_torch(POOL.base[name]) for name in names}, folder / file)
        weight_map = {name: file for file, names in shards.items() for name in names}
        (folder / f"{prefix}.bin.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": weight_map})
        )
        output = output_of(open_checkpoint(folder), tmp_path / "out")
        stem = prefix.removeprefix("pytorch_")
        assert output.names == (
            f"{stem}-00001-of-00002.safetensors",
            f"{stem}-00002-of-00002.safetensors",
            f"{stem}.safetensors.index.json",
        )

    def test_metadata_are_the_base_s_and_what_is_recorded(
        self, single: Checkpoint, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        def metadata(base: Checkpoint | StateDictSource) -> dict[str, str]:
            header = output_of(base, tmp_path / "out.safetensors").files[0].layout.header
            found: dict[str, str] = json.loads(header[8:])["__metadata__"]
            return found

        recorded = {"negmerge.scale": "1.0"}
        assert metadata(single) == {"format": "pt", "k": "v", **recorded}
        assert metadata(sharded) == {"format": "pt", "shard": next(iter(SHARDS)), **recorded}
        assert metadata(StateDictSource(POOL.base, "base")) == {"format": "pt", **recorded}

    def test_a_link_in_place_of_a_companion_is_copied_by_content(
        self, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        (sharded.path / "tokenizer.json").symlink_to("config.json")
        output = output_of(open_checkpoint(sharded.path), tmp_path / "out")
        assert output.companions["tokenizer.json"] == sharded.path / "config.json"

    def test_a_companion_that_links_out_of_its_folder_is_refused(
        self, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_text("mine")
        (sharded.path / "notes.txt").symlink_to("../secret")
        base = open_checkpoint(sharded.path)
        with pytest.raises(CheckpointError, match="leaves its folder") as caught:
            output_of(base, tmp_path / "out")
        assert caught.value.path == str(sharded.path / "notes.txt")
        assert not output_of(base, tmp_path / "out.safetensors").companions, "nothing is copied"

    @pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
    def test_the_configuration_names_the_dtype_written(
        self, key: str, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        config = sharded.path / "config.json"
        content = {"eps": 1e-05, key: "float32", "text": {key: "float32"}}
        config.write_text(json.dumps(content))
        output = output_of(sharded, tmp_path / "out", out_dtype="BF16")
        assert list(json.loads(output.texts["config.json"]).items()) == list(
            (content | {key: "bfloat16"}).items()
        )
        assert output.names.count("config.json") == 1
        assert output_of(sharded, tmp_path / "out").companions["config.json"] == config

    @pytest.mark.parametrize("text", ["{}", '{"torch_dtype": null}', "no JSON"])
    def test_a_configuration_without_a_dtype_is_copied(
        self, text: str, sharded: Checkpoint, tmp_path: Path
    ) -> None:
        (sharded.path / "config.json").write_text(text)
        output = output_of(sharded, tmp_path / "out", out_dtype="BF16")
        assert output.companions["config.json"] == sharded.path / "config.json"


class TestProblems:
    def kinds(self, output: Output, *, overwrite: bool = False) -> list[type]:
        return [type(problem) for problem in output_problems(output, overwrite=overwrite)]

    def test_nothing_in_the_way(self, single: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for name in ("out.safetensors", "out", "empty"):
            assert self.kinds(output_of(single, tmp_path / name)) == []

    def test_what_exists_is_kept_unless_told(self, single: Checkpoint, tmp_path: Path) -> None:
        output = output_of(single, single.path)
        assert self.kinds(output) == [OutputExistsError]
        assert self.kinds(output, overwrite=True) == []

    def test_a_folder_with_foreign_files_is_never_replaced(self, sharded: Checkpoint, tmp_path: Path) -> None:
        out = write_folder(tmp_path / "out", {"model.safetensors": ["a", "b", "n"]}, POOL.base)
        output = output_of(sharded, out)
        assert self.kinds(output) == [OutputExistsError]
        assert self.kinds(output, overwrite=True) == []
        (out / "notes.txt").write_text("mine")
        write_file(out / "other.safetensors", POOL.base)
        (out / "logs").mkdir()
        [problem] = output_problems(output, overwrite=True)
        assert isinstance(problem, OutputExistsError)
        assert "logs, notes.txt, other.safetensors" in str(problem)

    def test_a_link_with_the_unfinished_output_s_name(self, single: Checkpoint, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / ".out.safetensors.partial").symlink_to("elsewhere")
        assert self.kinds(output_of(single, tmp_path / "out.safetensors")) == [OutputError]

    def test_the_folder_must_be_there(self, single: Checkpoint, tmp_path: Path) -> None:
        assert self.kinds(output_of(single, tmp_path / "no" / "out.safetensors")) == [OutputError]

    def test_the_folder_must_be_writable(
        self, single: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Permission bits do not stop root, which tests may run as.
        monkeypatch.setattr(preflight.os, "access", lambda path, mode: False)
        assert self.kinds(output_of(single, tmp_path / "out.safetensors")) == [OutputError]

    def test_the_disk_must_have_room(
        self, single: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output = output_of(single, tmp_path / "out.safetensors")
        monkeypatch.setattr(preflight, "free_bytes", lambda folder: output.nbytes - 4096)
        assert self.kinds(output) == [DiskSpaceError]
        work = tmp_path / ".out.safetensors.partial"
        work.mkdir()
        (work / "output").write_bytes(np.ones(8192, np.uint8).tobytes())
        assert self.kinds(output) == [], "what an unfinished output holds is free for this one"
