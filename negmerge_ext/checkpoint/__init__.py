"""Checkpoints on disk: what they hold and where, read without loading any weights."""

from __future__ import annotations

import os
from pathlib import Path

from .base import Checkpoint
from .formats import read_tensor_file
from .hf_folder import open_folder

__all__ = ["Checkpoint", "open_checkpoint"]


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at ``path``: a ``.safetensors`` file, a Hugging Face folder or a ``torch.save`` file.

    Only metadata are read; torch is imported for ``torch.save`` files alone. Raises
    :class:`~negmerge_ext.errors.CheckpointError` (or a more specific
    :class:`~negmerge_ext.errors.InputError`) naming the file, the tensor and the remedy.
    """
    path = Path(path)
    if path.is_dir():
        return open_folder(path)
    format_name, content = read_tensor_file(path)
    return Checkpoint(
        path=path,
        format=format_name,
        files=(content.file,),
        tensors=content.tensors,
        metadata=(content.metadata,),
    )
