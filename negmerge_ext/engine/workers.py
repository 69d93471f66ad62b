"""What reads and merges: threads of the CPU, or workers of a device, and the memory that they take."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

from .. import native, native_cuda_files
from ..native_cuda_files import FileMerger

# Reasoned, not measured: ``benchmarks/gpu_files.py`` has the time with these values, and with no others.

#: A slot of this size takes so long to be copied to a device (about 0.1 ms where 50 GB/s are copied) that
#: starting the copy, some microseconds, is little beside it. A slower start or a faster link would ask for
#: more.
_LARGEST_SLOT = 4 << 20
#: Slots are multiples of it: the size of a page of most systems. What a device asks for is less (128 bytes).
_PAGE = 4096
#: A thread reads several times slower than a device takes what is read; with so many, reading should not be
#: what is waited for, and their slots stay a small part of memory. Slower storage or a faster link would ask
#: for more.
_MOST_ON_DEVICE = 16
#: There should be so many, if need be with smaller slots: some read while others wait for the device. Two
#: would do if reading and copying took equally long; these leave room for reading that takes longer.
_FEW_ON_DEVICE = 4


@dataclass(frozen=True, slots=True)
class Workers:
    """count: how many. each: bytes of main memory that one takes. slot: of a device's workers, else 0."""

    count: int
    each: int
    slot: int = 0

    @property
    def nbytes(self) -> int:
        """Main memory of all of them."""
        return self.count * self.each

    @property
    def device_bytes(self) -> int:
        """Memory of the device that all of them take."""
        return self.count * native_cuda_files.worker_memory(self.slot)[1] if self.slot else 0


class Mergers:
    """The workers of a device, at most one set of them at a time; a context manager that gives them back.

    Pinned memory takes long to be had: what a preflight was given is kept for the run, and for the next run
    if that wants the same.
    """

    def __init__(self) -> None:
        self._merger: FileMerger | None = None
        self._made_for: tuple[int, Workers] | None = None

    def get(self, device: int, workers: Workers) -> FileMerger:
        """Such workers of that device: those that are there, or new ones in their place.

        Raises :class:`~negmerge_ext.errors.DeviceError` and
        :class:`~negmerge_ext.errors.DeviceMemoryError`.
        """
        if self._merger is None or self._made_for != (device, workers):
            self.close()
            self._merger = FileMerger(device, workers.count, workers.slot)
            self._made_for = device, workers
        return self._merger

    def close(self) -> None:
        """Give the workers' memory back; others can be had afterwards."""
        if self._merger is not None:
            self._merger.close()
            self._merger = None

    def __enter__(self) -> Mergers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def threads_of_cpu(threads: int | None, scratch: int, spare: int) -> Workers:
    """One that is paid for and others within ``spare`` bytes, at most ``threads`` (``None``: the default)."""
    count = threads or native.default_threads()
    return Workers(min(count, 1 + spare // scratch) if scratch else count, scratch)


def least_on_device(models: int, histogram: bool) -> Workers:
    """A single worker with the smallest slots."""
    return _with_slots(1, _pages(native_cuda_files.least_slot(models, histogram)))


def workers_of_device(threads: int | None, least: Workers, spare: int, total: int) -> Workers:
    """Workers with larger slots than the ``least`` that is paid for, within ``spare`` bytes more.

    threads: how many at most; ``None``: the default. total: bytes that pass through the slots altogether.
    """
    most = min(threads or native.default_threads(), _MOST_ON_DEVICE)
    room, few = least.each + spare, min(most, _FEW_ON_DEVICE)
    per_slot = least.each // least.slot  # main memory that a byte of a slot takes
    wanted = min(_LARGEST_SLOT, room // few // per_slot, _pages(total // few))
    slot = max(least.slot, wanted // _PAGE * _PAGE)
    useful = -(-total // slot)
    return _with_slots(max(1, min(most, useful, room // (per_slot * slot))), slot)


def _with_slots(count: int, slot: int) -> Workers:
    return Workers(count, native_cuda_files.worker_memory(slot)[0], slot)


def _pages(nbytes: int) -> int:
    return -(-nbytes // _PAGE) * _PAGE
