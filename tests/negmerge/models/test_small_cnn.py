from __future__ import annotations

import pytest
import torch
from negmerge.models import MODELS
from negmerge.models.shape import Shape
from negmerge.recipe import Model


def build(width: int = 6, channels: int = 3, classes: int = 5) -> torch.nn.Module:
    mean, std = [0.5] * channels, [0.25] * channels
    shape = Shape(channels=channels, side=8, classes=classes, mean=mean, std=std)
    return MODELS.get("small_cnn")(Model(name="small_cnn", width=width), shape)


@pytest.mark.parametrize("width", [1, 3, 6, 8])
@pytest.mark.parametrize("side", [8, 11])
def test_logits_have_one_column_per_class(width, side):
    logits = build(width)(torch.rand(2, 3, side, side))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


def test_normalisation_is_part_of_the_checkpoint_and_not_trained():
    model = build()
    assert {"normalise.mean", "normalise.std"} <= set(model.state_dict())
    assert not [name for name, _ in model.named_parameters() if name.startswith("normalise")]
    normalised = model.normalise(torch.full((1, 3, 2, 2), 0.75))
    torch.testing.assert_close(normalised, torch.ones(1, 3, 2, 2))


def test_every_parameter_gets_a_gradient_from_images_of_one_class():
    torch.manual_seed(0)
    model = build()
    torch.nn.functional.cross_entropy(
        model(torch.rand(8, 3, 8, 8)), torch.zeros(8, dtype=torch.long)
    ).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad != 0).float().mean() > 0.9, name
