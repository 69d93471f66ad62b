"""Safetensors headers: what valid files hold, and that nothing malformed gets through."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from negmerge_ext import dtypes
from negmerge_ext.checkpoint.safetensors import MAX_HEADER, build_header, read_header
from negmerge_ext.errors import CheckpointError

names = st.text(max_size=6).filter(lambda name: name != "__metadata__")
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
whole_byte_dtypes = st.sampled_from(
    [name for name, bits in dtypes.BITS.items() if bits % 8 == 0 and name != "C128"]
)


def write(path: Path, entries: object, data: bytes = b"", *, text: bytes | None = None) -> Path:
    """A file with the given header (JSON, or raw text) and data."""
    header = json.dumps(entries).encode() if text is None else text
    path.write_bytes(len(header).to_bytes(8, "little") + header + data)
    return path


def entry(dtype: Any = "F32", shape: Any = (2,), data_offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": data_offsets, **more}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_finds_what_the_safetensors_library_wrote(path: Path) -> None:
    arrays = {
        "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
        "half": np.array([1.5, -2.0], np.float16),
        "bfloat": np.array([[3.0]], ml_dtypes.bfloat16),
        "scalar": np.array(7, np.int64),
        "nothing": np.zeros((0, 5), np.float64),
        "Ü \N{SNOWMAN}": np.array([True, False, True]),
    }
    save_file(arrays, path, metadata={"format": "np", "Ω": "é"})
    found = read_header(path, index=3)
    raw = path.read_bytes()

    assert found.metadata == {"format": "np", "Ω": "é"}
    assert (found.file.path, found.file.size) == (path, len(raw))
    assert found.tensors.keys() == arrays.keys()
    for name, array in arrays.items():
        tensor = found.tensors[name]
        assert (tensor.dtype, tensor.shape) == (dtypes.from_numpy(array.dtype), array.shape)
        assert (tensor.file, tensor.strides) == (3, None)
        assert raw[tensor.offset : tensor.offset + array.nbytes] == array.tobytes()
    offsets = [tensor.offset for tensor in found.tensors.values()]
    assert offsets == sorted(offsets)


@given(
    st.dictionaries(names, st.tuples(whole_byte_dtypes, shapes)), st.dictionaries(names, names, max_size=3)
)
def test_a_built_header_is_read_back(
    path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str]
) -> None:
    layout = build_header([(name, *what) for name, what in tensors.items()], metadata)
    path.write_bytes(layout.header + bytes(layout.size - len(layout.header)))
    found = read_header(path)

    assert len(layout.header) % 8 == 0
    assert found.metadata == metadata
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()} == tensors
    assert {name: tensor.offset for name, tensor in found.tensors.items()} == layout.offsets
    for name, (dtype, _) in tensors.items():
        assert layout.offsets[name] % (dtypes.BITS[dtype] // 8) == 0
    with safe_open(path, "np") as library:
        assert set(library.keys()) == set(tensors)
        assert library.metadata() == (metadata or None)


def test_a_built_layout_keeps_the_order_of_equal_sized_elements() -> None:
    layout = build_header([("b", "F32", (1,)), ("flag", "U8", (3,)), ("a", "I32", (2,)), ("step", "I64", ())])
    assert list(layout.offsets) == ["step", "b", "a", "flag"]
    assert layout.size == len(layout.header) + 8 + 4 + 8 + 3


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ([("__metadata__", "F32", (1,))], "reserved"),
        ([("a", "F32", (1,)), ("a", "F16", (1,))], "twice"),
        ([("a", "complex32", (1,))], "complex32"),
        ([("a", "C128", (1,))], "C128"),
        ([("a", "F4", (3,))], "F4"),
        ([("a\udc80", "F32", (1,))], "no Unicode"),
    ],
)
def test_a_layout_refuses_what_the_format_cannot_hold(
    tensors: list[tuple[str, str, tuple[int, ...]]], fault: str
) -> None:
    with pytest.raises(CheckpointError, match=fault):
        build_header(tensors)


def test_a_layout_refuses_a_header_that_no_reader_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("negmerge_ext.checkpoint.safetensors.MAX_HEADER", 1000)
    assert len(build_header([("a", "F32", (1,))], {"long": "x" * 800}).header) <= 1008
    with pytest.raises(CheckpointError, match="several files"):
        build_header([("a", "F32", (1,))], {"long": "x" * 1000})


@pytest.mark.parametrize("pad", [b"%s   ", b" \n%s", b"\t%s\r\n "])
def test_white_space_around_the_header_is_padding(path: Path, pad: bytes) -> None:
    write(path, None, bytes(8), text=pad % json.dumps({"a": entry()}).encode())
    assert read_header(path).tensors["a"].shape == (2,)


def test_an_unaligned_header_gives_unaligned_offsets(path: Path) -> None:
    text = json.dumps({"a": entry()}).encode()
    text += b" " * (3 - len(text) % 8 if len(text) % 8 < 3 else 11 - len(text) % 8)
    write(path, None, bytes(8), text=text)
    assert read_header(path).tensors["a"].offset == 8 + len(text)
    assert len(text) % 8 == 3


def test_sub_byte_elements_fill_whole_bytes(path: Path) -> None:
    write(path, {"a": entry("F4", [3, 2], [0, 3]), "b": entry("F6_E2M3", [4], [3, 6])}, bytes(6))
    assert read_header(path).tensors["b"].dtype == "F6_E2M3"


def test_a_file_without_tensors_is_valid(path: Path) -> None:
    assert read_header(write(path, {})).tensors == {}


BAD_ENTRIES: list[tuple[str, Any, str]] = [
    ("not an object", [1], "dtype, shape and data_offsets"),
    ("no dtype", {"shape": [2], "data_offsets": [0, 8]}, "dtype, shape and data_offsets"),
    ("one key too many", entry(extra=1), "dtype, shape and data_offsets"),
    ("unknown dtype", entry("F31"), "unknown dtype 'F31'"),
    ("dtype no string", entry(["F32"]), "unknown dtype"),
    ("shape no list", entry(shape=2), "not a list of sizes"),
    ("negative size", entry(shape=[-2]), "not a list of sizes"),
    ("size true", entry(shape=[True, 2]), "not a list of sizes"),
    ("size 2.0", entry(shape=[2.0]), "not a list of sizes"),
    ("size above 63 bits", entry(shape=[2**63, 0]), "not a list of sizes"),
    ("product overflows", entry(shape=[2**40, 2**40]), "more elements than can be counted"),
    ("product wraps to the right size", entry(shape=[2**62, 4, 2]), "more elements than can be counted"),
    ("product overflows beside 0", entry(shape=[2**40, 2**40, 0], data_offsets=[0, 0]), "more elements"),
    ("one offset", entry(data_offsets=[0]), "not two byte offsets"),
    ("three offsets", entry(data_offsets=[0, 8, 8]), "not two byte offsets"),
    ("negative offset", entry(data_offsets=[-8, 0]), "not two byte offsets"),
    ("offset no number", entry(data_offsets=["0", "8"]), "not two byte offsets"),
    ("offsets reversed", entry(data_offsets=[8, 0]), "end before they begin"),
    ("beyond the file", entry(shape=[4], data_offsets=[0, 16]), "beyond the end of the file"),
    ("too few bytes", entry(shape=[3]), "takes 12 bytes"),
    ("too many bytes", entry(shape=[1]), "takes 4 bytes"),
    ("half a byte", entry("F4", [15], [0, 8]), "takes 60 bits"),
]


@pytest.mark.parametrize(
    ("bad", "fault"), [case[1:] for case in BAD_ENTRIES], ids=[case[0] for case in BAD_ENTRIES]
)
def test_a_bad_entry_is_refused_by_name(path: Path, bad: Any, fault: str) -> None:
    write(path, {"layer.weight": bad}, bytes(8))
    with pytest.raises(CheckpointError, match=fault) as caught:
        read_header(path)
    assert (caught.value.path, caught.value.tensor) == (str(path), "layer.weight")
    assert caught.value.remedy


@pytest.mark.parametrize(
    "entries",
    [
        {"a": entry("F" * 10**6)},
        {"a": entry(shape=["x" * 10**6])},
        {"__metadata__": {"k" * 10**6: 1}},
    ],
    ids=["dtype", "shape", "metadata"],
)
def test_hostile_values_are_refused_in_few_words(path: Path, entries: object) -> None:
    write(path, entries, bytes(8))
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("ranges", "size", "tensor", "fault"),
    [
        ({"a": (0, 8), "b": (4, 12)}, 12, "b", "overlap those of tensor 'a'"),
        ({"a": (0, 8), "b": (0, 8)}, 8, "b", "overlap"),
        ({"a": (0, 8), "b": (4, 4)}, 8, "b", "overlap"),
        ({"a": (0, 8), "b": (12, 20)}, 20, "b", "4 bytes that belong to no tensor"),
        ({"a": (4, 12)}, 12, "a", "4 bytes that belong to no tensor"),
        ({"a": (0, 8)}, 11, None, "ends with 3 bytes"),
        ({}, 1, None, "ends with 1 bytes"),
    ],
)
def test_data_must_be_covered_once(
    path: Path, ranges: Mapping[str, tuple[int, int]], size: int, tensor: str | None, fault: str
) -> None:
    entries = {name: entry("U8", [end - begin], [begin, end]) for name, (begin, end) in ranges.items()}
    write(path, entries, bytes(size))
    with pytest.raises(CheckpointError, match=fault) as caught:
        read_header(path)
    assert caught.value.tensor == tensor


def test_empty_tensors_may_lie_anywhere_between_others(path: Path) -> None:
    spans = {"z": (8, 8), "a": (0, 8), "y": (0, 0), "b": (8, 9), "x": (9, 9)}
    write(
        path,
        {name: entry("U8", [end - begin], [begin, end]) for name, (begin, end) in spans.items()},
        bytes(9),
    )
    assert set(read_header(path).tensors) == set(spans)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'{"a":1,', "not valid JSON"),
        (b'["a"]', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"\xff":1}', "not UTF-8"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":1,"a":1}', "'a' twice"),
        (b'{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "'dtype' twice"),
        (b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "Unicode"),
        (b'{"__metadata__":{"a":"\\udfff"}}', "Unicode"),
        (b'{"__metadata__":{"a":1}}', "'a' is not a string"),
        (b'{"__metadata__":["a"]}', "__metadata__ is not"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' + b"9" * 10_000 + b"}", "safetensors header"),
    ],
)
def test_a_malformed_header_is_refused(path: Path, text: bytes, fault: str) -> None:
    write(path, None, text=text)
    with pytest.raises(CheckpointError, match=fault) as caught:
        read_header(path)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "0 bytes, too few"),
        (b"\x08\0\0", "3 bytes, too few"),
        (bytes(8), "length 0"),
        (bytes(20), "length 0"),
        ((3).to_bytes(8, "little") + b"{}", "only 2 bytes follow"),
        ((MAX_HEADER + 1).to_bytes(8, "little") + b"{}", "above the format's limit"),
        (b"\xff" * 16, "above the format's limit"),
    ],
)
def test_a_header_length_is_checked_first(path: Path, content: bytes, fault: str) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=fault):
        read_header(path)


def test_every_truncation_of_a_file_is_refused(path: Path) -> None:
    save_file({"a": np.arange(3, dtype=np.float32), "b": np.array(1, np.int8)}, path)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_header(path)


def test_a_header_of_very_many_tensors_is_read(path: Path) -> None:
    layout = build_header((f"layers.{i}.weight", "F16", (2, 3)) for i in range(20_000))
    path.write_bytes(layout.header + bytes(layout.size - len(layout.header)))
    assert {name: tensor.offset for name, tensor in read_header(path).tensors.items()} == layout.offsets


# What follows writes arbitrary damage: whatever is accepted must lie within the file, once.

VALID_ENTRIES = {
    "__metadata__": {"format": "pt"},
    "a.weight": entry("F32", [2, 3], [0, 24]),
    "b": entry("BF16", [1], [24, 26]),
    "c": entry("I8", [], [26, 27]),
    "d": entry("F64", [0, 7], [27, 27]),
}


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(-9, 9),
)
def test_damaged_files_are_refused_or_read_within_bounds(
    path: Path, damage: list[tuple[int, int]], grown: int
) -> None:
    write(path, VALID_ENTRIES, bytes(27))
    content = bytearray(path.read_bytes())
    for position, value in damage:
        content[position % len(content)] = value
    content = content[:grown] if grown < 0 else content + bytes(grown)
    path.write_bytes(content)
    assert_sound(path)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 30)
    | st.integers()
    | st.sampled_from(["F32", "U8", "F4", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["U8", "F16", "F4"]) | json_values,
        "shape": st.lists(st.integers(0, 4), max_size=2) | json_values,
        "data_offsets": st.lists(st.integers(0, 9), min_size=2, max_size=2).map(sorted) | json_values,
    }
)


@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), entries | json_values), st.integers(0, 9))
def test_arbitrary_headers_are_refused_or_read_within_bounds(
    path: Path, header: dict[str, Any], size: int
) -> None:
    assert_sound(write(path, header, bytes(size)))


def assert_sound(path: Path) -> None:
    try:
        found = read_header(path)
    except CheckpointError:
        return
    size = path.stat().st_size
    covered = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    for tensor in found.tensors.values():
        bits = math.prod(tensor.shape) * dtypes.BITS[tensor.dtype]
        assert tensor.offset == covered
        assert bits % 8 == 0
        covered += bits // 8
    assert covered == size
