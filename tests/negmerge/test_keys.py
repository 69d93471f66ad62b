from __future__ import annotations

import pytest
from negmerge.keys import content_key, derived_seed
from negmerge.recipe import Search


def test_key_depends_on_content_not_on_the_order_of_names():
    assert content_key("a", {"x": 1, "y": 2.5}) == content_key("a", {"y": 2.5, "x": 1})
    assert content_key(Search()) == content_key(Search(points=21))
    different = [
        content_key(),
        content_key("a"),
        content_key("a", None),
        content_key(["a"]),
        content_key(1),
        content_key("1"),
        content_key(Search()),
        content_key(Search(points=22)),
    ]
    assert len(set(different)) == len(different)


def test_what_is_not_plain_data_has_no_key():
    with pytest.raises(TypeError):
        content_key(object())
    with pytest.raises(ValueError, match="JSON"):
        content_key(float("nan"))


def test_seeds_differ_by_purpose_and_fit_every_generator():
    seeds = [derived_seed(purpose, number) for purpose in ("split", "weights") for number in range(50)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert derived_seed("split", 0) == derived_seed("split", 0)
