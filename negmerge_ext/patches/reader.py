"""Reading patch files, believing nothing they say before it is checked."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..checkpoint.base import StoredTensor
from ..checkpoint.safetensors import read_header
from ..errors import CheckpointError
from .description import Description, PatchedTensor
from .description_text import METADATA_KEY, from_text
from .sections import FileSections
from .writer import ALIGNMENT

_NOT_A_PATCH = "Give a file written by Patch.save, Patch.make or negmerge patch make"
_DAMAGED = "The patch file is damaged or was changed: make it again"


def read_patch_file(path: str | os.PathLike[str]) -> tuple[Description, FileSections]:
    """What the patch file at ``path`` says and where its data lies; the data are not read.

    Raises :class:`~negmerge_ext.errors.CheckpointError` for anything but a well-formed patch file.
    """
    stored = read_header(path)
    text = stored.metadata.get(METADATA_KEY)
    if text is None:
        raise CheckpointError("is not a patch", path=path, remedy=_NOT_A_PATCH)
    try:
        description = from_text(text)
    except ValueError as problem:
        raise CheckpointError(f"patch description {problem}", path=path, remedy=_DAMAGED) from None
    keep, values = [], []
    for tensor in description.tensors:
        keep.append(_section(stored.tensors, path, tensor, "keep").offset)
        values.append(_section(stored.tensors, path, tensor, "values").offset)
    if len(stored.tensors) != 2 * len(description.tensors):
        raise CheckpointError("holds tensors that its description does not name", path=path, remedy=_DAMAGED)
    return description, FileSections(description, stored.file, keep, values)


def _section(
    stored: Mapping[str, StoredTensor], path: str | os.PathLike[str], tensor: PatchedTensor, kind: str
) -> StoredTensor:
    found = stored.get(f"{kind}/{tensor.name}")
    if found is None:
        raise CheckpointError(f"patch has no {kind} section", path=path, tensor=tensor.name, remedy=_DAMAGED)
    if kind == "keep":
        surplus = found.numel - tensor.keep_nbytes
        fits = found.dtype == "U8" and len(found.shape) == 1 and 0 <= surplus < ALIGNMENT
    else:
        fits = found.dtype == tensor.compute and found.shape == (tensor.kept,)
    if not fits:
        raise CheckpointError(
            f"patch has a {kind} section of dtype {found.dtype} and shape {list(found.shape)}, which does "
            f"not fit {tensor.kept} of {tensor.numel} elements kept",
            path=path,
            tensor=tensor.name,
            remedy=_DAMAGED,
        )
    return found
