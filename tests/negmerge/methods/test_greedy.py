from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from method_contexts import context_in
from negmerge.methods import METHODS
from negmerge.methods.interface import Checkpoint, Context, Searched


@pytest.fixture
def context(tmp_path: Path) -> Context:
    pool = [Checkpoint(tmp_path / f"{number}.safetensors", f"key {number}", 1.0) for number in range(4)]
    return context_in(tmp_path, Checkpoint(tmp_path / "base.safetensors", "base key", 1.0), pool)


def grown(context: Context, singles: list[float], soups: list[float]) -> list[str]:
    """Titles of what is tried, when searches of means come to ``soups``."""
    method = METHODS.get("greedy")
    searched = [
        Searched(candidate, (value,))
        for candidate, value in zip(method.candidates(context), singles, strict=True)
    ]
    tried = []
    while (candidate := method.grow(context, searched)) is not None:
        again = method.grow(context, searched)
        assert again is not None
        assert (again.name, again.key) == (candidate.name, candidate.key)
        tried.append(candidate.title.removeprefix("mean of pool members "))
        searched.append(Searched(candidate, (soups[len(tried) - 1],)))
    return tried


def test_members_join_in_the_order_of_their_own_searches_if_that_is_better(context: Context) -> None:
    # 002 is the best, then 000, 003, 001; the mean with 000 is no better, that with 003 is.
    assert grown(context, [0.3, 0.5, 0.2, 0.4], [0.2, 0.1, 0.15]) == [
        "002, 000",
        "002, 003",
        "002, 003, 001",
    ]


def test_all_may_join_and_none_may(context: Context) -> None:
    assert grown(context, [1, 2, 3, 4], [0.9, 0.8, 0.7])[-1] == "000, 001, 002, 003"
    assert grown(context, [1, 1, 1, 1], [1, 1, 1]) == ["000, 001", "000, 002", "000, 003"]


def test_a_pool_of_one_is_its_member(context: Context) -> None:
    alone = replace(context, pool=context.pool[:1])
    method = METHODS.get("greedy")
    [single] = method.candidates(alone)
    assert method.grow(alone, [Searched(single, (1.0,))]) is None


def test_single_members_are_those_of_the_method_single(context: Context) -> None:
    pairs = zip(
        METHODS.get("greedy").candidates(context), METHODS.get("single").candidates(context), strict=True
    )
    assert all((one.name, one.key) == (other.name, other.key) for one, other in pairs)
