"""Computations that are independent of each other, in as many threads as there are CPUs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

ResultT = TypeVar("ResultT")

#: An attack takes 200 MB for a while.
_MOST = 16


def side_by_side(computations: Iterable[Callable[[], ResultT]]) -> Iterator[ResultT]:
    """The results in order.

    ``computations`` is asked in this thread for all of them first, and each begins as soon as it is there;
    what is worth it spends its time outside of Python's interpreter lock.
    """
    threads = ThreadPoolExecutor(min(_MOST, len(os.sched_getaffinity(0))))
    try:
        begun: list[Future[ResultT]] = [threads.submit(one) for one in computations]
        for future in begun:
            yield future.result()
    finally:
        threads.shutdown(cancel_futures=True)  # of those that an exception leaves behind
