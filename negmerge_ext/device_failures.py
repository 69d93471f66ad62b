"""What CUDA refuses or fails to do, as exceptions of the package: told by its own module, and by torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .errors import DeviceError, DeviceMemoryError

#: cudaErrorMemoryAllocation.
_OUT_OF_MEMORY = 2

#: How torch begins to tell what CUDA said; further lines are about debugging.
_OF_TORCH = re.compile(r"CUDA (?:driver )?error: (.*)")


class Remedies(NamedTuple):
    """What a user can do about a lack of memory, and about any other failure."""

    memory: str
    failure: str


#: Of merges of tensors where they lie.
TENSORS = Remedies(
    memory="Free memory of the device, give an output that exists (out=...), or merge .cpu() copies",
    failure="After a failed launch CUDA may refuse all further work: start the process again",
)
#: Of merges of files on a device that was asked for.
FILES = Remedies(
    memory="Give fewer threads (--threads), free what torch keeps (torch.cuda.empty_cache()), "
    "or leave device (--device) out to merge on the CPU",
    failure="Merge on the CPU (without device, --device), in a new process if CUDA refuses more work",
)


def named(problem: Exception, device: int, remedies: Remedies) -> DeviceError | DeviceMemoryError:
    """The exception for a ``CudaError`` of the compiled module: what CUDA said, and its number."""
    message, code = problem.args
    return _failure(message, device, remedies, lacks_memory=code == _OUT_OF_MEMORY)


@contextmanager
def named_failures(device: int | None = None, tensor: str | None = None) -> Iterator[None]:
    """Turn what torch raises where CUDA fails into the package's exceptions.

    CUDA tells of a failure when it is next asked for something, so what is done in the block need not be what
    failed. device: number of the CUDA device that is at work, if it is one. tensor: the tensor concerned, if
    it is one. Raises :class:`~negmerge_ext.errors.DeviceMemoryError` and
    :class:`~negmerge_ext.errors.DeviceError`.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as problem:
        message = str(problem).partition("\n")[0].rstrip(". ")
        raise _failure(message, device, TENSORS, lacks_memory=True, tensor=tensor) from problem
    except RuntimeError as problem:
        said = _OF_TORCH.match(str(problem))
        if said is None:
            raise
        lacks_memory = said[1] == "out of memory"
        raise _failure(said[1], device, TENSORS, lacks_memory=lacks_memory, tensor=tensor) from problem


def _failure(
    message: str, device: int | None, remedies: Remedies, *, lacks_memory: bool, tensor: str | None = None
) -> DeviceError | DeviceMemoryError:
    place = "a CUDA device" if device is None else f"cuda:{device}"
    if lacks_memory:
        return DeviceMemoryError(f"{place}: {message}", tensor=tensor, remedy=remedies.memory)
    return DeviceError(f"{place} failed: {message}", tensor=tensor, remedy=remedies.failure)
