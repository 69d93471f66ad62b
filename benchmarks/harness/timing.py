"""Interleaved timing: every round runs every variant once, so that a slow minute hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping
from random import Random

#: Does something and returns the seconds that count.
Measurement = Callable[[], float]


def timed(work: Callable[[], object], before: Callable[[], object] | None = None) -> Measurement:
    """Time ``work``; what it returns is released after the clock has stopped. ``before`` is not timed."""

    def measure() -> float:
        if before is not None:
            before()
        begin = time.perf_counter()
        result = work()
        seconds = time.perf_counter() - begin
        del result
        return seconds

    return measure


def repeated(work: Callable[[], object], calls: int) -> Measurement:
    """Time ``calls`` calls in a row; the seconds of one. The first finds caches that others have filled."""

    def many() -> None:
        for _ in range(calls):
            work()

    measure = timed(many)
    return lambda: measure() / calls


def interleave(
    variants: Mapping[str, Measurement], rounds: int, *, warm_up: int = 1, shuffle: bool = True
) -> dict[str, list[float]]:
    """Seconds of every variant, ``rounds`` each, after ``warm_up`` rounds that do not count.

    Every round has an order of its own, the same in every run, so that no variant always follows the same
    one; without ``shuffle`` it is the order given. The garbage collector runs between rounds only.
    """
    samples: dict[str, list[float]] = {name: [] for name in variants}
    random = Random(0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(-warm_up, rounds):
            for name in random.sample(list(variants), len(variants)) if shuffle else variants:
                seconds = variants[name]()
                if number >= 0:
                    samples[name].append(seconds)
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return samples
