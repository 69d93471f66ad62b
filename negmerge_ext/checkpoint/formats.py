"""Telling what format a weights file has, and reading its metadata."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CheckpointError
from . import safetensors
from .base import SourceFile, TensorFile
from .files import open_source, read_exactly

_ZIP = b"PK\x03\x04"

#: First bytes of files that cannot be read, what they are, and what to do.
_REFUSED = (
    (b"version https", "is a Git LFS pointer, not the weights", "Run git lfs pull in its folder"),
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "is in torch's old format (the one before 1.6), which cannot be read in place",
        "Convert it: torch.save(torch.load(path, map_location='cpu', weights_only=True), new_path)",
    ),
    (
        b"\x80",
        "is a plain pickle; it was not loaded, as pickles can run code",
        "Save the state dict with torch.save or safetensors instead",
    ),
)


def read_tensor_file(path: str | os.PathLike[str], index: int = 0) -> tuple[str, TensorFile]:
    """The format ("safetensors" or "torch_file") of a weights file and what it holds.

    Content decides, not the name: a safetensors file called ``.bin`` is read as what it is. Only a
    ``.safetensors`` name is taken as a promise that there is no pickle inside. Raises
    :class:`~negmerge_ext.errors.CheckpointError` for everything that is neither, saying what it is if known.
    """
    path = Path(path)
    with open_source(path) as (descriptor, file):
        prefix = bytearray(min(file.size, 16))
        read_exactly(descriptor, file, 0, memoryview(prefix))
    start = bytes(prefix)
    if _looks_like_safetensors(file, start):
        return "safetensors", safetensors.read_header(path, index)
    if start.startswith(_ZIP):
        if path.suffix == ".safetensors":
            raise CheckpointError(
                "is not a safetensors file but a zip archive, perhaps one that torch.save wrote",
                path=path,
                remedy="If you meant to load such a file, give it the suffix .pt",
            )
        from .torch_file import read_state_dict

        return "torch_file", read_state_dict(path, index)
    for known, fault, remedy in _REFUSED:
        if start.startswith(known):
            raise CheckpointError(fault, path=path, remedy=remedy)
    if path.suffix == ".safetensors":
        return "safetensors", safetensors.read_header(path, index)  # raises, and says what is wrong
    raise CheckpointError(
        "is neither a safetensors file nor a zip archive as torch.save writes them" if start else "is empty",
        path=path,
        remedy="The file is incomplete or of a format that is not read",
    )


def _looks_like_safetensors(file: SourceFile, start: bytes) -> bool:
    """Whether a header could begin here: a length that fits into the file, then JSON or white space."""
    length, text = int.from_bytes(start[:8], "little"), start[8:9]
    return 0 < length <= file.size - 8 and text in (b"{", b" ", b"\t", b"\r", b"\n")
