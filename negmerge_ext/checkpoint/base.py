"""What every checkpoint format offers: tensors as byte ranges of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..source import TensorInfo, Unfit


@dataclass(frozen=True, slots=True)
class StoredTensor(TensorInfo):
    """A tensor stored as bytes of a file.

    file: index into the checkpoint's ``files``. offset: absolute byte offset in that file. strides:
    element strides of a tensor that is not stored in row-major order (``.pt`` files may hold such views),
    else ``None``.
    """

    file: int
    offset: int
    strides: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file as it was when its metadata was read; a later difference means that it changed."""

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class TensorFile:
    """One weights file as its format's reader found it; ``tensors`` are sorted by offset."""

    file: SourceFile
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FileRows:
    """Where the data of some tensors lies, compact enough for thousands of checkpoints.

    files: of the checkpoint. file: int32 ``[tensors]``, index into ``files``. offset: int64 ``[tensors]``,
    absolute bytes. strides: for the rare tensors not in row-major order, by position.
    """

    files: tuple[SourceFile, ...]
    file: np.ndarray
    offset: np.ndarray
    strides: Mapping[int, tuple[int, ...]]

    @property
    def nbytes(self) -> int:
        """Bytes of the checkpoint's files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on disk, known by its metadata only.

    path: the file or folder the user gave. format: "safetensors", "hf_folder" or "torch_file". files: the
    files that hold tensors, in shard order. tensors: all tensors, files in shard order and each file by
    offset. metadata: one ``__metadata__`` mapping per file. index_metadata: the "metadata" object of a
    sharded folder's index, else ``None``. companions: files of a folder that travel along with the weights
    (config, tokenizer, …), as absolute paths.
    """

    path: Path
    format: str
    files: tuple[SourceFile, ...]
    tensors: Mapping[str, StoredTensor]
    metadata: tuple[Mapping[str, str], ...]
    index_metadata: Mapping[str, object] | None = None
    companions: tuple[Path, ...] = field(default=())

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def unfit(self) -> Mapping[str, Unfit]:
        """Nothing: a reader refuses what cannot be read."""
        return {}

    def rows(self, names: Sequence[str]) -> FileRows:
        """Locations of ``names``, in that order."""
        stored = [self.tensors[name] for name in names]
        return FileRows(
            files=self.files,
            file=np.fromiter((tensor.file for tensor in stored), np.int32, len(stored)),
            offset=np.fromiter((tensor.offset for tensor in stored), np.int64, len(stored)),
            strides={i: tensor.strides for i, tensor in enumerate(stored) if tensor.strides is not None},
        )
