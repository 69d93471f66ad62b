import math

import pytest
from negmerge.cli.layers import per_layer, per_tensor, total
from negmerge.layers import layer_of

from negmerge_ext import TensorStats


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("h.3.attn.q.weight", "h.3"),
        ("model.layers.11.mlp.experts.2.up.weight", "model.layers.11"),
        ("layer1.0.conv1.weight", "layer1.0"),
        ("conv1.weight", "conv1"),
        ("visual.ln_post.bias", "visual.ln_post"),
        ("logit_scale", "logit_scale"),
        ("0.weight", "0"),
        ("block3.weight", "block3"),
    ],
)
def test_layer_of(tensor, layer):
    assert layer_of(tensor) == layer


def stats(name, elements, kept, norm, agreement, max_abs=1.0, non_finite=0):
    return TensorStats(name, elements, kept, norm, max_abs, non_finite, agreement)


TENSORS = [
    stats("h.0.weight", 6, 2, 3.0, (0, 0, 4, 2), max_abs=2.0),
    stats("head.weight", 5, 0, 0.0, (5, 0, 0, 0), max_abs=0.0),
    stats("h.0.bias", 2, 1, 4.0, (0, 0, 1, 1), non_finite=1),
    stats("empty", 0, 0, 0.0, (0, 0, 0, 0), max_abs=0.0),
]


def test_layers_sum_up_their_tensors_in_model_order():
    first, head, empty = per_layer(TENSORS)
    assert [first.name, head.name, empty.name] == ["h.0", "head", "empty"]
    assert (first.elements, first.kept, first.non_finite) == (8, 3, 1)
    assert first.norm == pytest.approx(5.0)
    assert first.max_abs == 2.0
    assert first.agreement == (0, 0, 5, 3)
    assert first.kept_fraction == pytest.approx(3 / 8)
    assert first.mean_agreement == pytest.approx((5 * 2 + 3 * 3) / (3 * 8))


def test_layers_of_one_kind_stand_by_number_where_the_first_one_stood():
    names = [
        "embed.w",
        "h.10.a",
        "h.10.b",
        "h.2.a",
        "h.2.b",
        "layer1.0.a",
        "layer2.0.a",
        "layer1.1.a",
        "norm.w",
    ]
    tensors = [stats(name, 1, 1, 1.0, (0, 1)) for name in names]
    layers = ["embed", "h.2", "h.10", "layer1.0", "layer1.1", "layer2.0", "norm"]
    assert [row.name for row in per_layer(tensors)] == layers
    assert [row.name for row in per_tensor(tensors)][1:5] == ["h.2.a", "h.2.b", "h.10.a", "h.10.b"]


def test_empty_tensor_has_fractions_of_zero():
    empty = per_tensor(TENSORS)[-1]
    assert (empty.kept_fraction, empty.mean_agreement) == (0.0, 0.0)


def test_total_does_not_overflow_where_squares_would():
    huge = [stats("a", 1, 1, 1e200, (0, 1)), stats("b", 1, 1, 1e200, (0, 1))]
    assert total(huge).norm == pytest.approx(math.sqrt(2) * 1e200)


def test_rows_cover_every_element_once():
    everything = total(TENSORS)
    for rows in (per_tensor(TENSORS), per_layer(TENSORS)):
        assert sum(row.elements for row in rows) == everything.elements == 13
        assert sum(row.kept for row in rows) == everything.kept == 3
