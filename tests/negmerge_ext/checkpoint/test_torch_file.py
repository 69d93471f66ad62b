"""State dicts of torch.save: found in place, and nothing in them is ever run."""

from __future__ import annotations

import mmap
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from negmerge_ext import dtypes
from negmerge_ext.checkpoint import open_checkpoint, torch_archive
from negmerge_ext.checkpoint.files import FileReader
from negmerge_ext.checkpoint.torch_file import read_state_dict
from negmerge_ext.errors import CheckpointError, InputError, UnsupportedTensorError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


def stored_bytes(path: Path) -> dict[str, bytes]:
    """Every tensor's bytes in row-major order, read from where the checkpoint says they are."""
    found = read_state_dict(path)
    content: dict[str, bytes] = {}
    with FileReader() as reader:
        for name, tensor in found.tensors.items():
            itemsize = dtypes.BITS[tensor.dtype] // 8
            buffer = bytearray(tensor.numel * itemsize)
            if tensor.strides is None:
                reader.read_into(found.file, tensor.offset, memoryview(buffer))
            else:
                reader.read_elements(
                    found.file,
                    tensor.offset,
                    tensor.strides,
                    tensor.shape,
                    itemsize,
                    0,
                    tensor.numel,
                    memoryview(buffer),
                )
            content[name] = bytes(buffer)
    return content


def expected_bytes(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


def rewritten(
    path: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> None:
    """Write the archive anew with entries changed, or dropped where ``change`` gives ``None``."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def refuse(path: Path, fault: str, kind: type[InputError] = CheckpointError) -> InputError:
    with pytest.raises(kind, match=fault) as caught:
        open_checkpoint(path)
    assert str(path) in str(caught.value)
    return caught.value


class TestWhatIsRead:
    def test_every_dtype_and_layout(self, path: Path) -> None:
        whole = torch.randn(5, 4, 3)
        base = torch.randn(100)
        state = OrderedDict(
            whole=whole,
            transposed=whole.permute(2, 0, 1),
            row=whole[2],
            steps=base[3:90:7],
            broadcast=torch.tensor([1.0, 2.0]).reshape(2, 1).expand(2, 6),
            double=torch.randn(3, dtype=torch.float64),
            half=torch.randn(3).half(),
            bfloat=torch.randn(3, 2).bfloat16().t(),
            e4m3=torch.randn(9).to(torch.float8_e4m3fn),
            e5m2=torch.randn(9).to(torch.float8_e5m2),
            count=torch.tensor(7),
            flags=torch.tensor([True, False]),
            complex=torch.randn(2, dtype=torch.complex64),
            scalar=torch.tensor(0.5),
            empty=torch.zeros(0, 3),
            empty_view=whole[5:],
            parameter=torch.nn.Parameter(torch.randn(2, 2)),
            buffer=torch.nn.Buffer(torch.randn(2)),
        )
        torch.save(state, path)
        found = open_checkpoint(path)

        assert (found.format, found.metadata, found.companions) == ("torch_file", ({},), ())
        assert found.tensors.keys() == state.keys()
        for name, tensor in state.items():
            info = found.tensors[name]
            assert (info.dtype, info.shape) == (dtypes.from_torch(tensor.dtype), tuple(tensor.shape))
            assert (info.strides is None) == tensor.is_contiguous()
        assert stored_bytes(path) == {name: expected_bytes(tensor) for name, tensor in state.items()}
        offsets = [tensor.offset for tensor in found.tensors.values()]
        assert offsets == sorted(offsets)

    def test_a_modules_state_dict_with_its_metadata(self, path: Path) -> None:
        module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
        torch.save(module.state_dict(), path)
        expected = {name: expected_bytes(tensor) for name, tensor in module.state_dict().items()}
        assert stored_bytes(path) == expected

    def test_tied_tensors_share_their_offset(self, path: Path) -> None:
        embedding = torch.randn(4, 2)
        torch.save({"embed": embedding, "other": torch.randn(2), "head": embedding}, path)
        tensors = read_state_dict(path).tensors
        assert tensors["embed"] == tensors["head"] != tensors["other"]

    def test_nothing_but_empty_tensors(self, path: Path) -> None:
        torch.save({"a": torch.zeros(0), "b": torch.zeros(3, 0)}, path)
        assert stored_bytes(path) == {"a": b"", "b": b""}

    def test_an_empty_state_dict(self, path: Path) -> None:
        torch.save({}, path)
        assert read_state_dict(path).tensors == {}

    def test_an_archive_that_was_zipped_again(self, path: Path) -> None:
        state = {str(i): torch.full((4,), float(i)) for i in range(12)}
        torch.save(state, path)
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in sorted(archive.namelist(), reverse=True)}
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)
        assert stored_bytes(path) == {name: expected_bytes(tensor) for name, tensor in state.items()}

    def test_weights_are_not_read(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        torch.save({"a": torch.zeros(2_000_000)}, path)
        with zipfile.ZipFile(path) as archive:
            offset = read_state_dict(path).tensors["a"].offset
            assert archive.getinfo("model/data/0").file_size == 8_000_000
        with path.open("r+b") as stream:  # a checksum of the data would notice this
            stream.seek(offset + 4_000_000)
            stream.write(b"changed")
        assert read_state_dict(path).tensors["a"].offset == offset

    def test_a_file_larger_than_memory(self, path: Path) -> None:
        size = 4 * 10**10
        no_reserve = 0x4000
        try:
            room = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve)
            with torch.serialization.skip_data():  # leaves holes in the file
                torch.save({"a": torch.frombuffer(room, dtype=torch.float16), "b": torch.ones(3)}, path)
        except (OSError, RuntimeError) as problem:
            pytest.skip(f"no memory is overcommitted here, or no holes in files: {problem}")
        tensors = read_state_dict(path).tensors
        assert tensors["a"].shape == (size // 2,)
        assert tensors["b"].offset > tensors["a"].offset + size

    @settings(max_examples=25)
    @given(
        st.lists(st.tuples(st.sampled_from([0, 1, 5, 300]), st.sampled_from(["f4", "f8", "i1"])), max_size=8)
    )
    def test_any_number_of_storages(self, path: Path, sizes: list[tuple[int, str]]) -> None:
        arrays = {f"t{i}": np.full(size, i, kind) for i, (size, kind) in enumerate(sizes)}
        torch.save({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
        assert stored_bytes(path) == {name: array.tobytes() for name, array in arrays.items()}


class TestPickles:
    def test_code_is_never_run(self, path: Path, tmp_path: Path) -> None:
        witness = tmp_path / "ran"

        class Hostile:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(witness),)

        for content in ({"a": torch.zeros(2), "b": Hostile()}, Hostile(), [Hostile()]):
            torch.save(content, path)
            error = refuse(path, "import .*mkdir")
            assert "nothing was run" in str(error)
            assert not witness.exists()

    def test_a_whole_module(self, path: Path) -> None:
        torch.save(torch.nn.Linear(2, 2), path)
        assert "state_dict()" in str(refuse(path, "whole pickled module"))

    def test_a_nested_state_dict_names_its_key_and_how_to_extract_it(self, path: Path) -> None:
        state = {"weight": torch.randn(2)}
        torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "ema": state, "state_dict": state}, path)
        error = refuse(path, "under the key 'state_dict', beside 'epoch', 'optimizer'")
        remedy = re.search(r"torch\.save\((.*), new_path\)", str(error))
        assert remedy is not None
        torch.save(eval(remedy[1], {"torch": torch}), path)
        assert read_state_dict(path).tensors.keys() == state.keys()

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ([torch.zeros(2)], "holds a list"),
            (torch.zeros(2), "holds a Tensor"),
            (3, "holds a int"),
            ({"a": torch.zeros(2), "step": 3}, "tensor 'step': is a int"),
            ({"a": torch.zeros(2), "note": "x"}, "tensor 'note': is a str"),
            ({"a": torch.zeros(2), 5: torch.zeros(2)}, "key 5 is a int"),
            ({"a": torch.zeros(2), ("b",): torch.zeros(2)}, "is a tuple, not a tensor name"),
        ],
    )
    def test_other_contents(self, path: Path, content: Any, fault: str) -> None:
        torch.save(content, path)
        refuse(path, fault)

    def test_all_problems_come_together(self, path: Path) -> None:
        torch.save({f"note{i}": "x" for i in range(30)}, path)
        error = refuse(path, "note0")
        assert len(error.problems) == 21
        assert "10 more" in str(error)

    @pytest.mark.filterwarnings("ignore")
    def test_tensors_without_plain_memory(self, path: Path) -> None:
        dense = torch.eye(3)
        for name, tensor in {
            "sparse": dense.to_sparse(),
            "csr": dense.to_sparse_csr(),
            "meta": dense.to("meta"),
            "conjugate": torch.ones(2, dtype=torch.complex64).conj(),
            "negative": torch.ones(2, dtype=torch.complex64).conj().imag,
            "half_complex": torch.zeros(2, dtype=torch.complex32),
        }.items():
            torch.save({"fine": dense, name: tensor}, path)
            error = refuse(path, name, UnsupportedTensorError)
            assert error.tensor == name

    @pytest.mark.filterwarnings("ignore")
    def test_quantized_tensors(self, path: Path) -> None:
        torch.save({"a": torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)}, path)
        refuse(path, "quantized", UnsupportedTensorError)

    def test_refused_sparse_tensors_do_not_disturb_torch(self, path: Path) -> None:
        torch.save({"a": torch.eye(3).to_sparse()}, path)
        refuse(path, "dense", UnsupportedTensorError)
        torch.save({"a": torch.eye(3)}, path)
        assert torch.equal(torch.load(path, weights_only=True)["a"], torch.eye(3))

    @pytest.mark.parametrize(
        "pickled", [b"", b".", b"\x80\x02", b"\x80\x02}q\x00(", b"garbage", b"\x80\x02N.", b"\xff" * 99]
    )
    def test_damaged_pickles(self, path: Path, pickled: bytes) -> None:
        torch.save({"a": torch.zeros(2)}, path)
        rewritten(path, lambda name, content: pickled if name.endswith("data.pkl") else content)
        refuse(path, "cannot be unpickled|holds a NoneType")

    def test_a_view_that_leaves_its_storage(self, path: Path) -> None:
        torch.save({"a": torch.zeros(5, 7)}, path)
        rewritten(path, lambda name, content: content.replace(b"K\x05K\x07", b"K\x05K\x7f"))
        assert refuse(path, "beyond its storage").tensor == "a"

    def test_a_view_that_repeats_a_storage_without_measure(self, path: Path) -> None:
        torch.save({"a": torch.ones(1).expand(2**40)}, path)
        assert refuse(path, "repeats 4 stored bytes to fill shape").tensor == "a"
        torch.save({"a": torch.ones(1).expand(2**30)}, path)
        assert read_state_dict(path).tensors["a"].strides == (0,)


class TestArchives:
    def test_the_old_format(self, path: Path) -> None:
        torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
        assert "Convert it" in str(refuse(path, "old format"))

    def test_a_plain_pickle(self, path: Path) -> None:
        path.write_bytes(pickle.dumps({"a": [1.0]}))
        refuse(path, "plain pickle")

    @pytest.mark.filterwarnings("ignore")
    def test_torchscript(self, path: Path) -> None:
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
        refuse(path, "TorchScript")

    def test_another_zip_archive(self, path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("letter.txt", "hello")
        refuse(path, "not one that torch.save wrote")

    def test_big_endian(self, path: Path) -> None:
        torch.save({"a": torch.zeros(2)}, path)
        rewritten(path, lambda name, content: b"big" if name.endswith("byteorder") else content)
        refuse(path, "byte order 'big'")

    def test_no_byte_order_recorded(self, path: Path) -> None:
        torch.save({"a": torch.ones(2)}, path)
        rewritten(path, lambda name, content: None if name.endswith("byteorder") else content)
        assert stored_bytes(path) == {"a": expected_bytes(torch.ones(2))}

    def test_compressed_entries(self, path: Path) -> None:
        torch.save({"a": torch.zeros(2)}, path)
        rewritten(path, lambda name, content: content, zipfile.ZIP_DEFLATED)
        refuse(path, "compressed")

    def test_two_entries_of_one_name(self, path: Path) -> None:
        torch.save({"a": torch.zeros(2)}, path)
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("model/data/0", bytes(8))
        refuse(path, "two entries of one name")

    @pytest.mark.parametrize("size", [0, 4, 100])
    def test_a_storage_of_another_size(self, path: Path, size: int) -> None:
        torch.save({"a": torch.zeros(2), "b": torch.zeros(2)}, path)
        rewritten(path, lambda name, content: bytes(size) if name.endswith("data/0") else content)
        refuse(path, f"storage '0' has {size} bytes; its tensors need 8")

    def test_a_storage_that_is_missing(self, path: Path) -> None:
        torch.save({"a": torch.zeros(2), "b": torch.zeros(2)}, path)
        rewritten(path, lambda name, content: None if name.endswith("data/1") else content)
        refuse(path, "storage '1' is missing")

    def test_a_storage_that_no_tensor_uses(self, path: Path) -> None:
        torch.save({"a": torch.ones(2)}, path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("model/data/7", bytes(8))
        assert stored_bytes(path) == {"a": expected_bytes(torch.ones(2))}

    @pytest.mark.parametrize(
        ("limit", "fault"), [("_MAX_PICKLE", "data.pkl would be"), ("_MAX_DIRECTORY", "directory would be")]
    )
    def test_lengths_without_measure(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, fault: str
    ) -> None:
        torch.save({f"a{i}": torch.zeros(2) for i in range(9)}, path)
        assert len(stored_bytes(path)) == 9
        monkeypatch.setattr(torch_archive, limit, 100)
        refuse(path, fault)

    def test_a_directory_that_points_elsewhere(self, path: Path) -> None:
        torch.save({"a": torch.zeros(2)}, path)
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            header = archive.getinfo("model/data/0").header_offset
        content[header : header + 4] = b"XXXX"
        path.write_bytes(content)
        refuse(path, "is not where the directory says")

    def test_truncation(self, path: Path, tmp_path: Path) -> None:
        torch.save({"a": torch.zeros(20)}, path)
        whole = path.read_bytes()
        for size in range(0, len(whole), 61):
            path.write_bytes(whole[:size])
            refuse(path, "empty|not a readable zip|neither a safetensors")

    @settings(max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
    @pytest.mark.filterwarnings("ignore")
    def test_damage_is_refused_or_harmless(self, path: Path, damage: list[tuple[int, int]]) -> None:
        torch.save({"a": torch.zeros(2, 3), "b": torch.zeros(4).half()}, path)
        content = bytearray(path.read_bytes())
        for position, value in damage:
            content[position % len(content)] = value
        path.write_bytes(content)
        try:
            found = open_checkpoint(path)
        except InputError:
            return
        for tensor in found.tensors.values():
            strides = tensor.strides or (1,)
            assert tensor.offset >= 0
            assert min(strides) >= 0
            assert tensor.offset + tensor.numel * dtypes.BITS[tensor.dtype] // 8 <= len(content)
