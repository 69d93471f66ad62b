"""What a merge will write: the files of the output, their headers, and where each tensor goes in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from .. import dtypes
from ..errors import OptionError, OutputError
from ..plan import PlannedTensor
from ..source import Source
from .base import Checkpoint
from .companions import CONFIG, config_with_dtype
from .links import followed
from .provenance import PREFIX
from .safetensors import Layout, build_header

_SUFFIX = ".safetensors"
_SINGLE = "model" + _SUFFIX
_INDEX_SUFFIX = _SUFFIX + ".index.json"
_SHARD = re.compile(r"-\d+-of-\d+$")
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
_USE_SAFETENSORS = "Give a name that ends in .safetensors, or a folder"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A weights file; ``name`` is its name in the output folder, or the output's own."""

    name: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class Output:
    """Everything that will be written.

    path: the target, symbolic links resolved. folder: whether it is a Hugging Face folder. file: int32
    ``[tensors]``, which of ``files`` a tensor goes to; offset: int64 ``[tensors]``, its absolute byte there.
    texts: small files made here, by name: a folder's index, and its configuration if that must change.
    companions: files to copy, by name.
    """

    path: Path
    folder: bool
    files: tuple[OutputFile, ...]
    file: np.ndarray
    offset: np.ndarray
    texts: Mapping[str, bytes]
    companions: Mapping[str, Path]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all files of the output."""
        return (*(file.name for file in self.files), *self.texts, *self.companions)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where the weights files will be, in the order of ``files``."""
        return tuple(self.path / file.name for file in self.files) if self.folder else (self.path,)

    @property
    def nbytes(self) -> int:
        """Bytes of all files together."""
        companions = sum(source.stat().st_size for source in self.companions.values())
        texts = sum(map(len, self.texts.values()))
        return sum(file.layout.size for file in self.files) + texts + companions


def plan_output(
    base: Source[object], tensors: Sequence[PlannedTensor], out: Path, recorded: Mapping[str, str]
) -> Output:
    """Decide what is written to ``out`` for ``tensors``, in the base's stored order.

    A path ending in ``.safetensors`` becomes one file; a folder keeps the base's sharding (shards of
    ``.bin`` files become safetensors files), its index and its companion files. The base's own metadata is
    kept and ``recorded`` added to it. A ``config.json`` that names the weights' dtype names that of converted
    ones. Raises :class:`~negmerge_ext.errors.OptionError` for a path of another kind,
    :class:`~negmerge_ext.errors.OutputError` if a file is in the way of a folder or the reverse, and
    :class:`~negmerge_ext.errors.CheckpointError` for a tensor that the format cannot hold and for a companion
    file that is a link out of its folder.
    """
    path = out.resolve()
    checkpoint = base if isinstance(base, Checkpoint) else None
    folder = is_folder(path, any_suffix=checkpoint is not None and checkpoint.format == "hf_folder")
    sharded = checkpoint is not None and folder and checkpoint.format == "hf_folder"
    if checkpoint is not None and sharded:
        names = [_safetensors_name(file.path.name) for file in checkpoint.files]
        file_of = [checkpoint.tensors[tensor.name].file for tensor in tensors]
        metadata = [_metadata(checkpoint, [index], recorded) for index in range(len(names))]
    else:
        names = [_SINGLE if folder else path.name]
        file_of = [0] * len(tensors)
        metadata = [_metadata(checkpoint, None, recorded)]
    members: list[list[PlannedTensor]] = [[] for _ in names]
    for tensor, index in zip(tensors, file_of, strict=True):
        members[index].append(tensor)
    layouts = [
        build_header(((tensor.name, tensor.out_dtype, tensor.shape) for tensor in group), entries)
        for group, entries in zip(members, metadata, strict=True)
    ]
    texts = _index(checkpoint, tensors, file_of, names) if checkpoint is not None and sharded else {}
    companions = {}
    if checkpoint is not None and folder:
        companions = {path.name: followed(path) for path in checkpoint.companions}
    if CONFIG in companions:
        texts |= _config(companions[CONFIG], tensors)
    offsets = (layouts[index].offsets[tensor.name] for tensor, index in zip(tensors, file_of, strict=True))
    return Output(
        path=path,
        folder=folder,
        files=tuple(OutputFile(name, layout) for name, layout in zip(names, layouts, strict=True)),
        file=np.array(file_of, np.int32),
        offset=np.fromiter(offsets, np.int64, len(tensors)),
        texts=texts,
        companions={name: path for name, path in companions.items() if name not in texts},
    )


def is_folder(path: Path, *, any_suffix: bool) -> bool:
    """Whether the output ``path`` is a folder; any_suffix: as that of a folder with any suffix may be.

    Raises what :func:`plan_output` raises about the path.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        if suffix == _SUFFIX:
            raise OutputError("is a folder, and the name asks for a file", path=path, remedy="Give another")
        return True
    if suffix in _TORCH_SUFFIXES:
        raise OptionError("merged weights are written as safetensors", path=path, remedy=_USE_SAFETENSORS)
    if suffix == _SUFFIX:
        return False
    if suffix and not any_suffix:
        raise OptionError(
            f"the suffix {suffix!r} says neither file nor folder",
            path=path,
            remedy="Give a name that ends in .safetensors, or make the folder first",
        )
    if path.exists():
        raise OutputError("is a file, and a folder is to be written", path=path, remedy=_USE_SAFETENSORS)
    return True


def _safetensors_name(name: str) -> str:
    """The name of a shard in the output: its own, or for a torch file what its safetensors twin is called."""
    if name.endswith(_SUFFIX):
        return name
    return re.sub(r"^pytorch_model", "model", PurePosixPath(name).stem) + _SUFFIX


def _metadata(
    base: Checkpoint | None, files: Sequence[int] | None, recorded: Mapping[str, str]
) -> dict[str, str]:
    entries: dict[str, str] = {}
    if base is not None:
        for index in range(len(base.metadata)) if files is None else files:
            entries = {**base.metadata[index], **entries}
    kept = {key: value for key, value in entries.items() if not key.startswith(PREFIX)}
    # Without a "format", transformers refuses the file; only a safetensors base has its own to keep. Sorted,
    # because the library that writes most files leaves the order to chance.
    return dict(sorted({**(kept or {"format": "pt"}), **recorded}.items()))


def _index(
    base: Checkpoint, tensors: Sequence[PlannedTensor], file_of: Sequence[int], names: Sequence[str]
) -> dict[str, bytes]:
    if base.index_metadata is None:
        return {}
    name = _SHARD.sub("", PurePosixPath(names[0]).stem) + _INDEX_SUFFIX
    total = sum(tensor.out_nbytes for tensor in tensors)
    content = {
        "metadata": {**base.index_metadata, "total_size": total},
        "weight_map": {tensor.name: names[index] for tensor, index in zip(tensors, file_of, strict=True)},
    }
    return {name: (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()}


def _config(path: Path, tensors: Sequence[PlannedTensor]) -> dict[str, bytes]:
    """The configuration under its name, if the one at ``path`` would name a dtype that is no longer right."""
    converted = {tensor.out_dtype for tensor in tensors if tensor.out_dtype != tensor.dtype}
    if len(converted) != 1:
        return {}
    text = config_with_dtype(path, dtypes.torch_name(converted.pop()))
    return {} if text is None else {CONFIG: text}
