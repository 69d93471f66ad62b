"""Interleaved timing: every round runs every variant once, so that a slow minute hits all of them alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

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


def interleave(
    variants: Mapping[str, Measurement], rounds: int, *, warm_up: int = 1, rotate: bool = True
) -> dict[str, list[float]]:
    """Seconds of every variant, ``rounds`` each, after ``warm_up`` rounds that do not count.

    Unless ``rotate`` is off, every round begins with the next variant, so that a variant follows each other
    in turn. The garbage collector runs between rounds only.
    """
    names = list(variants)
    samples: dict[str, list[float]] = {name: [] for name in names}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for number in range(-warm_up, rounds):
            first = number % len(names) if rotate else 0
            for name in names[first:] + names[:first]:
                seconds = variants[name]()
                if number >= 0:
                    samples[name].append(seconds)
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return samples
