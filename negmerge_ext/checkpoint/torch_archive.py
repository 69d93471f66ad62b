"""The zip archives that ``torch.save`` writes: the pickle, and where the bytes of each storage lie."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import CheckpointError, NegmergeError
from .base import SourceFile
from .files import read_exactly

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1

#: Longest directory and longest pickle. Each takes about a hundred bytes per tensor, and many times that in
#: memory; a sparse file can claim any length.
_MAX_DIRECTORY = 16 << 20
_MAX_PICKLE = 64 << 20


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """Absolute byte offset and size of one storage in the file."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class TorchArchive:
    """The pickled state dict, in which storages are named by key, and the storages by that key."""

    pickle: bytes
    storages: Mapping[str, StorageRecord]


def read_archive(descriptor: int, file: SourceFile) -> TorchArchive:
    """The archive in ``file``, its storages located but not read.

    Raises :class:`~negmerge_ext.errors.CheckpointError` unless this is a ``torch.save`` archive whose
    storages lie in the file as they are in memory: uncompressed and little-endian.
    """
    try:
        with (
            _DirectoryStream(io.FileIO(descriptor, closefd=False)) as stream,
            zipfile.ZipFile(stream) as archive,
        ):
            entries = {entry.filename: entry for entry in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise _damaged(file, "is a zip archive with two entries of one name")
            root = _root(file, entries)
            _check_byte_order(file, archive, f"{root}/byteorder")
            records = {
                name: _record(descriptor, file, entries[name]) for name in entries if _is_read(root, name)
            }
    except NegmergeError:
        raise
    except Exception as problem:  # a malformed directory can make zipfile raise anything
        raise _damaged(file, f"is not a readable zip archive ({problem})") from None
    location = records.pop(f"{root}/data.pkl")
    if location.size > _MAX_PICKLE:
        raise CheckpointError(
            f"its data.pkl would be {location.size} bytes long, above the limit of {_MAX_PICKLE}",
            path=file.path,
            remedy="This is not a state dict, or the file is damaged; large data belong in tensors",
        )
    pickle = bytearray(location.size)
    read_exactly(descriptor, file, location.offset, memoryview(pickle))
    prefix = f"{root}/data/"
    return TorchArchive(
        pickle=bytes(pickle),
        storages={name.removeprefix(prefix): record for name, record in records.items()},
    )


class _DirectoryStream(io.BufferedReader):
    """A file of which ``zipfile``, which reads a directory of any length at once, gets bounded pieces."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise ValueError(f"its directory would be {size} bytes long, above the limit of {_MAX_DIRECTORY}")
        return super().read(size)


def _is_read(root: str, name: str) -> bool:
    return name == f"{root}/data.pkl" or name.startswith(f"{root}/data/")


def _root(file: SourceFile, names: Collection[str]) -> str:
    """The folder in the archive that everything lies in."""
    roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise CheckpointError(
            "is a zip archive, but not one that torch.save wrote",
            path=file.path,
            remedy="Give a state dict saved with torch.save(model.state_dict(), path)",
        )
    if f"{roots[0]}/constants.pkl" in names:
        raise CheckpointError(
            "is a TorchScript archive: a program, not a state dict",
            path=file.path,
            remedy="Load it with torch.jit.load and save its state_dict() with torch.save",
        )
    return roots[0]


def _check_byte_order(file: SourceFile, archive: zipfile.ZipFile, name: str) -> None:
    if name not in archive.NameToInfo:
        return  # written before torch recorded it, on a little-endian machine as far as torch is concerned
    with archive.open(name) as stream:
        order = stream.read(16)
    if order != b"little":
        raise CheckpointError(
            f"has byte order {order.decode('ascii', 'replace')!r}; only little-endian files are read",
            path=file.path,
            remedy="Load it with torch and save it again on a little-endian machine",
        )


def _record(descriptor: int, file: SourceFile, entry: zipfile.ZipInfo) -> StorageRecord:
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
        raise CheckpointError(
            f"entry {entry.filename!r} is compressed or encrypted, so it cannot be read in place",
            path=file.path,
            remedy="Load it with torch and save it again with torch.save",
        )
    # The directory gives the place of an entry's header; how long that one is, only itself tells.
    header = bytearray(_LOCAL_HEADER.size)
    if entry.header_offset + len(header) <= file.size:
        read_exactly(descriptor, file, entry.header_offset, memoryview(header))
    signature, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    offset = entry.header_offset + len(header) + name_length + extra_length
    if signature != _LOCAL_SIGNATURE or offset + entry.file_size > file.size:
        raise _damaged(file, f"zip entry {entry.filename!r} is not where the directory says")
    return StorageRecord(offset=offset, size=entry.file_size)


def _damaged(file: SourceFile, fault: str) -> CheckpointError:
    return CheckpointError(fault, path=file.path, remedy="Download or save it again")
