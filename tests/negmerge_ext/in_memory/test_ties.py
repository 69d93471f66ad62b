"""Tensors that share memory."""

from __future__ import annotations

import numpy as np
import oracle
import pytest
import torch

from negmerge_ext import merge
from negmerge_ext.errors import TiedTensorError, UnsupportedTensorError


class TiedModel(torch.nn.Module):
    """An embedding whose weight is the output layer's too."""

    def __init__(self, *, tied: bool = True) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 3)
        self.head = torch.nn.Linear(3, 7)
        if tied:
            self.head.weight = self.embed.weight


def expected(base: torch.Tensor, *finetuned: torch.Tensor) -> np.ndarray:
    return oracle.merge(base.detach().numpy().copy(), [x.detach().numpy() for x in finetuned])


def test_ties_stay() -> None:
    base, one, two = TiedModel(), TiedModel(), TiedModel()
    merged = merge(base, [one, two])
    assert merged["embed.weight"].data_ptr() == merged["head.weight"].data_ptr()
    wanted = expected(base.embed.weight, one.embed.weight, two.embed.weight)
    assert oracle.same_bits(merged["head.weight"].numpy(), wanted)
    assert merged["head.bias"].data_ptr() != merged["head.weight"].data_ptr()


def test_ties_in_numpy_state_dicts() -> None:
    weight = np.float32([1, 2])
    merged = merge({"a": weight, "b": weight, "c": weight.copy()}, [dict.fromkeys("abc", weight * 2)])
    assert merged["a"] is merged["b"]
    assert not np.shares_memory(merged["a"], merged["c"])


def test_in_place_merges_tied_tensors_once() -> None:
    base, one = TiedModel(), TiedModel()
    wanted = expected(base.embed.weight, one.embed.weight)
    merge(base, [one], out=base)
    assert base.head.weight is base.embed.weight
    assert oracle.same_bits(base.head.weight.detach().numpy(), wanted)


def test_equal_values_under_tied_names_are_enough() -> None:
    base, one = TiedModel(), TiedModel(tied=False)
    one.head.weight.data = one.embed.weight.detach().clone()
    merged = merge(base, [one])
    assert oracle.same_bits(merged["embed.weight"].numpy(), expected(base.embed.weight, one.embed.weight))
    assert merged["embed.weight"].data_ptr() == merged["head.weight"].data_ptr()


@pytest.mark.parametrize("in_place", [False, True])
def test_different_values_under_tied_names(in_place: bool) -> None:
    base, one, two = TiedModel(), TiedModel(), TiedModel(tied=False)
    before = base.embed.weight.detach().clone()
    with pytest.raises(TiedTensorError, match=r"'head.weight'.*'embed.weight'") as caught:
        merge(base, [one, two], out=base if in_place else None)
    assert caught.value.path == "finetuned[1]"
    assert torch.equal(base.embed.weight, before)
    kept = merge(base, [one, two], exclude=["embed.weight", "head.weight"])
    assert torch.equal(kept["head.weight"], before)


def test_different_dtypes_under_tied_names() -> None:
    weight = torch.ones(2)
    with pytest.raises(TiedTensorError):
        merge({"a": weight, "b": weight}, [{"a": weight, "b": weight.bfloat16()}])


def test_excluding_one_of_two_tied_tensors() -> None:
    base, one = TiedModel(), TiedModel()
    with pytest.raises(TiedTensorError, match=r"'head.weight'.*'embed.weight'.*Include or exclude both"):
        merge(base, [one], exclude="head.*")


def test_out_whose_tensors_are_not_tied_takes_both() -> None:
    base, one, two, out = TiedModel(), TiedModel(), TiedModel(tied=False), TiedModel(tied=False)
    wanted = [
        expected(base.embed.weight, one.embed.weight, two.embed.weight),
        expected(base.embed.weight, one.embed.weight, two.head.weight),
    ]
    merge(base, [one, two], out=out)
    assert oracle.same_bits(out.embed.weight.detach().numpy(), wanted[0])
    assert oracle.same_bits(out.head.weight.detach().numpy(), wanted[1])


def test_out_tied_where_the_base_is_not() -> None:
    base, one, out = TiedModel(tied=False), TiedModel(tied=False), TiedModel()
    with pytest.raises(TiedTensorError) as caught:
        merge(base, [one], out=out)
    assert {problem.path for problem in caught.value.problems} == {"base", "finetuned[0]"}
    base.head.weight.data = base.embed.weight.detach().clone()
    merge(base, [TiedModel()], out=out)


def test_same_memory_in_another_shape_is_no_tie() -> None:
    weight = torch.arange(6.0)
    base = {"a": weight, "b": weight.view(2, 3)}
    pool = [{"a": weight + 1, "b": weight.view(2, 3) + 2}]
    merged = merge(base, pool)
    assert merged["a"].tolist() == [-1, 0, 1, 2, 3, 4]
    assert merged["b"].tolist() == [[-2, -1, 0], [1, 2, 3]]
    with pytest.raises(UnsupportedTensorError, match="overlaps"):
        merge(base, pool, out=base)
    assert weight.tolist() == [0, 1, 2, 3, 4, 5]
