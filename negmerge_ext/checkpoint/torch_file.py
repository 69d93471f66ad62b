"""State dicts saved by ``torch.save`` in its zip format: ``.pt``, ``.pth``, ``.bin``.

The archive's directory says where the storages' bytes lie, the pickle in it how tensors view the storages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from .. import dtypes
from ..errors import CheckpointError, NegmergeError, UnsupportedTensorError, raise_problems
from .base import SourceFile, StoredTensor, TensorFile
from .files import open_source
from .torch_archive import read_archive
from .torch_unpickler import StorageStandIns

#: Problems after which the listing of a file is cut short.
_LISTED = 20

#: Bytes that a view which repeats elements of its storage (``expand``) may have: its size in the file says
#: nothing, and a file of a kilobyte must not take all memory.
_MAX_REPEATED = 4 << 30

#: Where training scripts put the weights among other things.
_USUAL_KEYS = ("state_dict", "model_state_dict", "model", "module")

_SAVE_STATE_DICT = "Save it again with torch.save(model.state_dict(), path)"


def read_state_dict(path: str | os.PathLike[str], index: int = 0) -> TensorFile:
    """What the state dict at ``path`` holds; its tensors get ``file=index`` and are sorted by offset.

    Tied tensors have equal offsets; views that are not in row-major order have strides. Raises
    :class:`~negmerge_ext.errors.CheckpointError` for anything but a flat mapping of names to tensors, and
    :class:`~negmerge_ext.errors.UnsupportedTensorError` for tensors that are not plain strided memory.
    """
    with open_source(path) as (descriptor, file):
        archive = read_archive(descriptor, file)
    storages = StorageStandIns(file, archive)
    state = storages.unpickle()
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"holds a {type(state).__name__}, not a state dict", path=file.path, remedy=_SAVE_STATE_DICT
        )
    nested = [key for key, value in state.items() if _is_state_dict(value)]
    if nested:
        raise _nested(file, state, nested)
    tensors: list[tuple[str, StoredTensor]] = []
    problems: list[NegmergeError] = []
    for name, value in state.items():
        try:
            tensors.append((name, _stored(file, storages, name, value, index)))
        except NegmergeError as problem:
            problems.append(problem)
    if len(problems) > _LISTED:
        more = CheckpointError(f"{len(problems) - _LISTED} more entries like these", path=file.path)
        problems = [*problems[:_LISTED], more]
    raise_problems(problems)
    tensors.sort(key=lambda item: item[1].offset)
    return TensorFile(file=file, tensors=dict(tensors), metadata={})


def _is_state_dict(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def _nested(file: SourceFile, state: Mapping[Any, Any], keys: list[Any]) -> CheckpointError:
    key = next((key for key in keys if key in _USUAL_KEYS), keys[0])
    others = ", ".join(repr(other) for other in list(state)[:_LISTED] if other != key)
    return CheckpointError(
        f"holds its state dict under the key {key!r}" + (f", beside {others}" if others else ""),
        path=file.path,
        remedy=f"Extract it: torch.save(torch.load({str(file.path)!r}, map_location='cpu', "
        f"weights_only=True)[{key!r}], new_path)",
    )


def _stored(file: SourceFile, storages: StorageStandIns, name: Any, value: Any, index: int) -> StoredTensor:
    """Where an entry of the state dict lies, once it is known to be a named tensor with plain memory."""
    if not isinstance(name, str):
        raise CheckpointError(
            f"key {name!r} is a {type(name).__name__}, not a tensor name",
            path=file.path,
            remedy=_SAVE_STATE_DICT,
        )
    if not isinstance(value, torch.Tensor):
        raise CheckpointError(
            f"is a {type(value).__name__}, not a tensor",
            path=file.path,
            tensor=name,
            remedy="Remove this entry and save the file again",
        )
    fault = _unsupported(value)
    record = None if fault else storages.record(value)
    if record is None:
        raise UnsupportedTensorError(
            fault or "has no data in the file, as it was saved from the meta device",
            path=file.path,
            tensor=name,
            remedy="Convert it to a plain tensor (to_dense, resolve_conj, resolve_neg, …) before saving",
        )
    begin = int(value.storage_offset()) * value.itemsize
    strides = tuple(int(stride) for stride in value.stride())
    last = sum((size - 1) * stride for size, stride in zip(value.shape, strides, strict=True))
    # Setting a meta tensor's view enlarges its storage silently where memory would be overrun.
    if begin < 0 or (value.numel() and begin + (last + 1) * value.itemsize > record.size):
        raise CheckpointError(
            f"reaches beyond its storage of {record.size} bytes",
            path=file.path,
            tensor=name,
            remedy="Download or save it again",
        )
    if value.numel() * value.itemsize > max(record.size, _MAX_REPEATED):
        raise CheckpointError(
            f"repeats {record.size} stored bytes to fill shape {list(value.shape)}, which is more than the "
            f"{_MAX_REPEATED} bytes that such a view may have",
            path=file.path,
            tensor=name,
            remedy="Save it with contiguous(), or leave it out of the state dict",
        )
    return StoredTensor(
        dtype=dtypes.from_torch(value.dtype),
        shape=tuple(value.shape),
        file=index,
        offset=record.offset + begin,
        strides=None if value.is_contiguous() else strides,
    )


def _unsupported(tensor: torch.Tensor) -> str:
    """What keeps the tensor from being read as plain memory; empty if nothing does."""
    if tensor.layout != torch.strided or tensor.is_nested:
        return f"is not a dense tensor (layout {tensor.layout})"
    if dtypes.from_torch(tensor.dtype) not in dtypes.BITS:
        return f"has dtype {tensor.dtype}, which other formats cannot store"
    if tensor.is_conj() or tensor.is_neg():
        return "is a lazily conjugated or negated view"
    return ""
