"""The safetensors format: a length, a JSON header, then packed tensors.

The header is parsed here and not by the ``safetensors`` library because reading in chunks needs byte
offsets, which the library does not give. Nothing a header says is believed before it is checked.
"""

from __future__ import annotations

import json
import math
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .. import dtypes
from ..errors import CheckpointError
from .base import SourceFile, StoredTensor, TensorFile
from .files import open_source, read_exactly
from .strict_json import parse_object

#: Bytes of the header's length, which a file begins with.
_PREFIX = 8

#: Longest header that readers of the format accept.
MAX_HEADER = 100_000_000

#: Bits per element of the dtypes that a header may name.
_BITS = {name: bits for name, bits in dtypes.BITS.items() if name != "C128"}

_METADATA = "__metadata__"
_ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
_DAMAGED = "The file is damaged or incomplete: download or save it again"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything in a safetensors file goes.

    header: the first bytes of the file, up to the first tensor. offsets: absolute byte offset of every
    tensor, in file order. size: bytes of the whole file.
    """

    header: bytes
    offsets: Mapping[str, int]
    size: int


def build_header(
    tensors: Iterable[tuple[str, str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> Layout:
    """Lay out a safetensors file of ``tensors`` = (name, dtype, shape), dtypes by safetensors name.

    The order is the given one, except that tensors of larger elements come first. As the header's length is
    a multiple of 8, every element then lies at a multiple of its size, without which some readers fail.
    Raises :class:`~negmerge_ext.errors.CheckpointError` for what the format cannot hold: a tensor called
    ``__metadata__``, a name used twice or not valid Unicode, a dtype without a safetensors name, sub-byte
    elements that do not fill whole bytes, or a header above 100 MB.
    """
    entries: dict[str, object] = {_METADATA: dict(metadata)} if metadata else {}
    offsets: dict[str, int] = {}
    end = 0
    for name, dtype, shape in sorted(tensors, key=lambda tensor: -_BITS.get(tensor[1], 0)):
        if name == _METADATA or name in offsets:
            fault = "is a reserved name" if name == _METADATA else "occurs twice"
            raise CheckpointError(f"{fault}, so a safetensors file cannot hold it", tensor=name)
        bits = math.prod(shape) * _BITS.get(dtype, 0)
        if dtype not in _BITS or bits % 8:
            raise CheckpointError(
                f"has dtype {dtype} and shape {list(shape)}, which a safetensors file cannot hold",
                tensor=name,
            )
        offsets[name], end = end, end + bits // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offsets[name], end]}
    try:
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError as problem:
        name = problem.object[max(0, problem.start - 30) : problem.end + 30]
        raise CheckpointError(f"a safetensors file cannot hold text that is no Unicode: {name!r}") from None
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise CheckpointError(
            f"a safetensors header of {len(text)} bytes is more than readers accept ({MAX_HEADER})",
            remedy="Spread the tensors over several files",
        )
    start = _PREFIX + len(text)
    return Layout(
        header=len(text).to_bytes(_PREFIX, "little") + text,
        offsets={name: start + offset for name, offset in offsets.items()},
        size=start + end,
    )


def read_header(path: str | os.PathLike[str], index: int = 0) -> TensorFile:
    """What the safetensors file at ``path`` holds; its tensors get ``file=index`` and are sorted by offset.

    Raises :class:`~negmerge_ext.errors.CheckpointError` unless the header is well-formed and its tensors
    cover the rest of the file exactly: without holes, overlaps or bytes left over.
    """
    with open_source(path) as (descriptor, file):
        length = _header_length(descriptor, file)
        text = bytearray(length)
        read_exactly(descriptor, file, _PREFIX, memoryview(text))
    try:
        entries = parse_object(text)
    except ValueError as problem:
        raise CheckpointError(f"safetensors header {problem}", path=path, remedy=_DAMAGED) from None
    metadata = _metadata(file, entries.pop(_METADATA, None))
    start = _PREFIX + length
    ranges = sorted(
        ((*_data_range(file, name, entry, start), name) for name, entry in entries.items()),
        key=lambda item: item[:2],
    )
    _check_coverage(file, ranges, start)
    tensors = {
        name: StoredTensor(
            dtype=entries[name]["dtype"], shape=tuple(entries[name]["shape"]), file=index, offset=begin
        )
        for begin, _, name in ranges
    }
    return TensorFile(file=file, tensors=tensors, metadata=metadata)


def _header_length(descriptor: int, file: SourceFile) -> int:
    if file.size < _PREFIX:
        raise _malformed(file, f"has {file.size} bytes, too few for a safetensors file")
    prefix = bytearray(_PREFIX)
    read_exactly(descriptor, file, 0, memoryview(prefix))
    length = int.from_bytes(prefix, "little")
    if length == 0:
        raise _malformed(file, "safetensors header has length 0")
    if length > MAX_HEADER:
        raise CheckpointError(
            f"safetensors header would be {length} bytes long, above the format's limit of {MAX_HEADER}",
            path=file.path,
            remedy="This is not a safetensors file, or its first bytes are damaged",
        )
    if length > file.size - _PREFIX:
        raise _malformed(
            file, f"safetensors header is {length} bytes long, but only {file.size - _PREFIX} bytes follow"
        )
    return length


def _metadata(file: SourceFile, metadata: object) -> Mapping[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise _malformed(file, f"{_METADATA} is not a JSON object")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise _malformed(file, f"{_METADATA} entry {_short(key)} is not a string")
    return metadata


def _data_range(file: SourceFile, name: str, entry: object, start: int) -> tuple[int, int]:
    """Absolute bytes [begin, end) of a tensor, once everything its entry says has been checked."""
    if not isinstance(entry, dict) or entry.keys() != _ENTRY_KEYS:
        raise _malformed(file, "entry must have dtype, shape and data_offsets, and nothing else", name)
    dtype, shape, data_offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise CheckpointError(
            f"has the unknown dtype {_short(dtype)}",
            path=file.path,
            tensor=name,
            remedy=f"Known are {', '.join(_BITS)}",
        )
    if not _are_sizes(shape):
        raise _malformed(file, f"shape {_short(shape)} is not a list of sizes", name)
    if not _are_sizes(data_offsets) or len(data_offsets) != 2:
        raise _malformed(file, f"data_offsets {_short(data_offsets)} are not two byte offsets", name)
    begin, end = data_offsets
    if begin > end:
        raise _malformed(file, f"data_offsets {data_offsets} end before they begin", name)
    if end > file.size - start:
        raise _malformed(
            file, f"data ends at byte {start + end}, beyond the end of the file ({file.size})", name
        )
    bits = _bits(shape, _BITS[dtype])
    if bits is None:
        raise _malformed(file, f"shape {_short(shape)} has more elements than can be counted", name)
    if bits != (end - begin) * 8:
        needed = f"{bits // 8} bytes" if bits % 8 == 0 else f"{bits} bits"
        raise _malformed(
            file, f"has {end - begin} bytes of data, {dtype} of shape {_short(shape)} takes {needed}", name
        )
    return start + begin, start + end


def _check_coverage(file: SourceFile, ranges: list[tuple[int, int, str]], start: int) -> None:
    """The ranges, sorted, must follow each other from ``start`` to the end of the file."""
    reached = start
    previous = None
    for begin, end, name in ranges:
        if begin < reached:
            raise _malformed(file, f"data overlap those of tensor {previous!r}", name)
        if begin > reached:
            raise _malformed(file, f"is preceded by {begin - reached} bytes that belong to no tensor", name)
        reached, previous = end, name
    if reached < file.size:
        raise _malformed(file, f"ends with {file.size - reached} bytes that belong to no tensor")


def _are_sizes(value: object) -> bool:
    # bool is an int to Python; JSON true is no size.
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def _bits(shape: list[int], bits: int) -> int | None:
    """Bits of the tensor; ``None`` if its non-empty axes alone exceed what 63 bits can count."""
    for size in shape:
        bits *= size or 1
        if bits >= 2**63:
            return None
    return 0 if 0 in shape else bits


def _short(value: object) -> str:
    text = reprlib.repr(value)  # the value itself may be as long as the header
    return text if len(text) <= 100 else f"{text[:97]}..."


def _malformed(file: SourceFile, fault: str, tensor: str | None = None) -> CheckpointError:
    return CheckpointError(fault, path=file.path, tensor=tensor, remedy=_DAMAGED)
