"""Unpickling a ``torch.save`` archive without running code and without reading weights.

This does what ``torch.load(weights_only=True)`` does, with the same unpickler, except that the storages the
pickle asks for are handed out empty, on the meta device, and remembered. ``torch.load`` itself can only read
them or map the whole file, and Linux by default refuses to map more than the machine has memory.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import torch
from torch._utils import _validate_loaded_sparse_tensors
from torch._weights_only_unpickler import Unpickler

from ..errors import CheckpointError, InputError, NegmergeError, UnsupportedTensorError
from .base import SourceFile
from .torch_archive import StorageRecord, TorchArchive

#: Imports after which a listing is cut short.
_LISTED = 10

_SAVE_STATE_DICT = "Save it again with torch.save(model.state_dict(), path)"


class StorageStandIns:
    """Unpickles an archive; knows which storage of it each of the resulting meta tensors views."""

    def __init__(self, file: SourceFile, archive: TorchArchive) -> None:
        self._file = file
        self._archive = archive
        self._given: dict[str, torch.TypedStorage] = {}
        self._records: dict[int, StorageRecord] = {}

    def unpickle(self) -> object:
        """The pickled object, its tensors on the meta device.

        Raises :class:`~negmerge_ext.errors.CheckpointError` if it is more than data, or damaged, and
        :class:`~negmerge_ext.errors.UnsupportedTensorError` for quantized tensors.
        """
        unpickler: Any = Unpickler(io.BytesIO(self._archive.pickle), encoding="utf-8")
        unpickler.persistent_load = self._storage
        try:
            return unpickler.load()
        except NegmergeError:
            raise
        except Exception as problem:  # hostile bytes can make an unpickler raise anything
            raise _refusal(self._file, self._archive.pickle, problem) from problem
        finally:
            # Sparse tensors (refused later) are queued for a check, which the next torch.load would run.
            with suppress(Exception):
                _validate_loaded_sparse_tensors()  # type: ignore[no-untyped-call]

    def record(self, tensor: torch.Tensor) -> StorageRecord | None:
        """Where the storage that ``tensor`` views lies; ``None`` if the archive has no such storage."""
        return self._records.get(tensor.untyped_storage()._cdata)

    def _storage(self, saved: Any) -> torch.TypedStorage:
        _, kind, key, _, count = saved
        if key in self._given:
            return self._given[key]
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        record = self._archive.storages.get(key)
        if record is None or record.size != count * dtype.itemsize:
            found = "is missing" if record is None else f"has {record.size} bytes"
            raise CheckpointError(
                f"storage {key!r} {found}; its tensors need {count * dtype.itemsize} bytes",
                path=self._file.path,
                remedy="Download or save it again",
            )
        untyped = torch.UntypedStorage(record.size, device="meta")  # type: ignore[no-untyped-call]
        self._records[untyped._cdata] = record
        typed = torch.TypedStorage(  # type: ignore[no-untyped-call]
            wrap_storage=untyped, dtype=dtype, _internal=True
        )
        self._given[key] = typed
        return typed


def _refusal(file: SourceFile, pickle: bytes, problem: Exception) -> InputError:
    """Why the unpickler gave up, in terms of what the user can do."""
    if b"_rebuild_qtensor" in pickle:
        return UnsupportedTensorError(
            "holds quantized tensors", path=file.path, remedy="Convert them with dequantize() before saving"
        )
    try:
        imports = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(file.path))
    except Exception:  # the pickle is too damaged even to be listed
        imports = []
    if any(name.startswith("torch.nn.modules.") for name in imports):
        return CheckpointError(
            "holds a whole pickled module, not a state dict; nothing of it was run",
            path=file.path,
            remedy=_SAVE_STATE_DICT,
        )
    if imports:
        return CheckpointError(
            f"asks to import {', '.join(imports[:_LISTED])}, which no state dict needs; nothing was run",
            path=file.path,
            remedy=f"Do not load this file unless you know where it comes from. {_SAVE_STATE_DICT}",
        )
    reason = str(problem).partition("\n")[0]
    return CheckpointError(
        f"cannot be unpickled as a state dict ({type(problem).__name__}: {reason})",
        path=file.path,
        remedy=_SAVE_STATE_DICT,
    )
