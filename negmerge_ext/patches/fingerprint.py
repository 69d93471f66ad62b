"""What identifies the base of a patch: the SHA-256 of every patched tensor's bytes, in row-major order."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

#: Hexadecimal digits of a fingerprint.
DIGITS = 64


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


def memory(address: int, nbytes: int) -> memoryview:
    """The bytes at ``address``; valid only as long as whoever owns them keeps them."""
    if nbytes == 0:  # an empty tensor's address may be null
        return memoryview(bytearray())
    return memoryview((ctypes.c_ubyte * nbytes).from_address(address)).cast("B")
