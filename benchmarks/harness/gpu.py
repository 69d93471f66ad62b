"""The GPU that is measured, or the one line that says why there is none."""

from __future__ import annotations

import sys

import torch

from negmerge_ext import native_cuda
from negmerge_ext.errors import DeviceError


def require() -> None:
    """End the program unless this installation can merge on a GPU of this machine."""
    if not torch.cuda.is_available():
        sys.exit("an NVIDIA GPU is needed: torch finds none here")
    try:
        native_cuda.devices()
    except DeviceError as problem:
        sys.exit(f"an NVIDIA GPU is needed: {problem}")


def require_room(nbytes: int, what: str) -> None:
    """End the program if the GPU has less free memory than ``what`` needs."""
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    if free < nbytes:
        sys.exit(f"{what} needs {nbytes / 1e9:.1f} GB of GPU memory, {free / 1e9:.1f} GB are free")
