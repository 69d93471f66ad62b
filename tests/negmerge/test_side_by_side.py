from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from negmerge.side_by_side import side_by_side


def test_results_come_in_order_whichever_is_done_first():
    def after(seconds: float) -> Callable[[], float]:
        def wait() -> float:
            time.sleep(seconds)
            return seconds

        return wait

    assert list(side_by_side(map(after, (0.05, 0.0, 0.02, 0.0)))) == [0.05, 0.0, 0.02, 0.0]
    assert list(side_by_side([])) == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_they_are_under_way_while_the_next_is_asked_for():
    begun = threading.Event()

    def computations() -> Iterator[Callable[[], str]]:
        yield lambda: begun.set() or "first"
        assert begun.wait(10), "the first has not begun"
        yield lambda: "second"

    assert list(side_by_side(computations())) == ["first", "second"]


def test_what_one_raises_arrives_and_the_others_are_left():
    done: list[int] = []

    def computation(number: int) -> Callable[[], None]:
        def compute() -> None:
            if number == 0:
                raise ZeroDivisionError
            time.sleep(0.01)
            done.append(number)

        return compute

    with pytest.raises(ZeroDivisionError):
        list(side_by_side(map(computation, range(1000))))
    assert len(done) < 1000
