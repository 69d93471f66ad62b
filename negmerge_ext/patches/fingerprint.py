"""What identifies the base of a patch: the SHA-256 of every patched tensor's bytes, in row-major order."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ..device_failures import named_failures
from ..in_memory.device_memory import CPU
from ..in_memory.plain_tensor import Value, raw_tensor

if TYPE_CHECKING:
    from ..in_memory.state_dict import MemoryRows

#: Hexadecimal digits of a fingerprint.
DIGITS = 64

#: Bytes of a device's tensor that are brought to main memory at a time.
_PIECE = 16 << 20


def fingerprint(address: int, nbytes: int) -> str:
    """The fingerprint of the ``nbytes`` bytes at ``address``."""
    return hashlib.sha256(memory(address, nbytes)).hexdigest()


def fingerprints(addresses: Sequence[int], nbytes: Sequence[int], threads: int) -> list[str]:
    """:func:`fingerprint` of many tensors, several at a time (``hashlib`` releases the GIL)."""
    # The largest first: one that begins last keeps the other threads waiting.
    order = sorted(range(len(nbytes)), key=nbytes.__getitem__, reverse=True)
    with ThreadPoolExecutor(threads, thread_name_prefix="negmerge-fingerprint") as pool:
        found = pool.map(lambda index: fingerprint(addresses[index], nbytes[index]), order)
        digests = dict(zip(order, found, strict=True))
    return [digests[index] for index in range(len(nbytes))]


def tensor_fingerprints(rows: MemoryRows, names: Sequence[str], index: list[int], threads: int) -> list[str]:
    """The fingerprints of the tensors ``index`` of ``rows``; those on devices are brought piece by piece.

    names: of all of ``rows``, for errors.
    """
    here = [place for place in index if rows.device[place] == CPU]
    digests = dict(
        zip(
            here,
            fingerprints(rows.address[here].tolist(), rows.sizes[here].tolist(), threads),
            strict=True,
        )
    )
    digests |= {
        place: fingerprint_of_device(rows.values[place], int(rows.device[place]), names[place])
        for place in index
        if place not in digests
    }
    return [digests[place] for place in index]


def fingerprint_of_device(value: Value, device: int, tensor: str) -> str:
    """The fingerprint of a torch tensor on a CUDA device, which is waited for; tensor: its name, for errors.

    Raises :class:`~negmerge_ext.errors.DeviceError` and :class:`~negmerge_ext.errors.DeviceMemoryError`.
    """
    import torch

    digest = hashlib.sha256()
    with named_failures(device, tensor):
        packed = raw_tensor(value).contiguous().view(-1).view(torch.uint8)  # type: ignore[arg-type]
        for begin in range(0, len(packed), _PIECE):
            digest.update(packed[begin : begin + _PIECE].cpu().numpy().data)
    return digest.hexdigest()


def memory(address: int, nbytes: int) -> memoryview:
    """The bytes at ``address``; valid only as long as whoever owns them keeps them."""
    if nbytes == 0:  # an empty tensor's address may be null
        return memoryview(bytearray())
    return memoryview((ctypes.c_ubyte * nbytes).from_address(address)).cast("B")
