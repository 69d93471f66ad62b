"""Bringing bytes of files into buffers, by several threads at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from ..checkpoint.base import SourceFile
from ..checkpoint.files import FileReader

#: Reads in flight: what hides the latency of disks and network file systems. More than the cores of a small
#: machine, since they wait, and each holds what it gathers (budget.py). Merges of tensors that are gathered,
#: in tmpfs on two cores, take 1.84 of the time with one, and 0.95 to 1.01 with 2, 4 and 16. Storage that
#: answers slowly, and many reads at once, would ask for more.
THREADS = 8

#: Bytes that a thread reads at a time, so that all have work and an interrupt need not wait long: some
#: milliseconds, long beside starting a read. There 1, 2, 8 and 16 MiB take 1.05, 0.99, 1.04 and 0.98 of the
#: time.
_BATCH = 4 << 20


class Read(Protocol):
    """Something that fills ``nbytes`` bytes of memory."""

    @property
    def nbytes(self) -> int: ...
    def run(self, files: FileReader) -> None: ...


@dataclass(frozen=True, slots=True)
class RangeRead:
    """Consecutive bytes of a file."""

    file: SourceFile
    offset: int
    target: memoryview

    @property
    def nbytes(self) -> int:
        return len(self.target)

    def run(self, files: FileReader) -> None:
        files.read_into(self.file, self.offset, self.target)

    def parts(self) -> Iterator[RangeRead]:
        """The same, in reads of bounded length."""
        for begin in range(0, len(self.target), _BATCH):
            yield RangeRead(self.file, self.offset + begin, self.target[begin : begin + _BATCH])


@dataclass(frozen=True, slots=True)
class StridedRead:
    """Elements [begin, end) in row-major order of a tensor that its file stores in another order."""

    file: SourceFile
    offset: int
    strides: Sequence[int]
    shape: Sequence[int]
    itemsize: int
    begin: int
    end: int
    target: memoryview

    @property
    def nbytes(self) -> int:
        return len(self.target)

    def run(self, files: FileReader) -> None:
        files.read_elements(
            self.file,
            self.offset,
            self.strides,
            self.shape,
            self.itemsize,
            self.begin,
            self.end,
            self.target,
        )


class Readers:
    """Threads that perform reads; a context manager that ends them, leaving out what has not begun."""

    def __init__(self, files: FileReader) -> None:
        self._files = files
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="negmerge-read")

    def submit(self, reads: Iterable[Read]) -> list[Future[None]]:
        """Begin reading; done when all results are there (which raise what went wrong)."""
        return [self._threads.submit(self._run, batch) for batch in _batches(reads)]

    def _run(self, batch: list[Read]) -> None:
        for read in batch:
            read.run(self._files)

    def __enter__(self) -> Readers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(cancel_futures=True)


def _batches(reads: Iterable[Read]) -> Iterator[list[Read]]:
    batch: list[Read] = []
    nbytes = 0
    for read in reads:
        if batch and nbytes + read.nbytes > _BATCH:
            yield batch
            batch, nbytes = [], 0
        batch.append(read)
        nbytes += read.nbytes
    if batch:
        yield batch
