from __future__ import annotations

import pytest
import torch
from negmerge.errors import RecipeError, TrainingError
from negmerge.evaluate import predict
from negmerge.metrics.accuracy import accuracy
from negmerge.models.small_cnn import SmallCNN
from negmerge.recipe import Training
from negmerge.train import train

# Class 0: the upper half is bright. Class 1: the lower half.
LABELS = torch.arange(64) % 2
RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 60, (64, 1, 8, 8), dtype=torch.uint8, generator=RANDOM)
IMAGES[LABELS == 0, :, :4] += 180
IMAGES[LABELS == 1, :, 4:] += 180


def model() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4, channels=1, classes=2, mean=[0.4], std=[0.3])


def spec(**changes: float) -> Training:
    return Training(**({"epochs": 5, "learning_rate": 0.01, "batch_size": 16} | changes))


def trained(freeze: tuple[str, ...] = (), seed: int = 1, **changes: float) -> dict[str, torch.Tensor]:
    net = model()
    train(net, IMAGES, LABELS, spec(**changes), seed=seed, freeze=freeze)
    return net.state_dict()


def test_learns_what_can_be_learnt():
    net = model()
    first = train(net, IMAGES, LABELS, spec(epochs=1), seed=1)
    last = train(net, IMAGES, LABELS, spec(), seed=1)
    assert last < first
    assert accuracy(predict(net, IMAGES), LABELS) == 1.0
    assert not net.training


def test_same_seed_same_bits_another_seed_other_bits():
    first, again, other = (
        trained(augmentation=1.0),
        trained(augmentation=1.0),
        trained(augmentation=1.0, seed=2),
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    "change",
    [
        {"weight_decay": 0.5},
        {"label_smoothing": 0.2},
        {"augmentation": 1.0},
        {"epochs": 6},
        {"learning_rate": 0.02},
        {"batch_size": 32},
    ],
)
def test_every_hyper_parameter_matters(change):
    plain, changed = trained(), trained(**change)
    assert any(not torch.equal(plain[name], changed[name]) for name in plain)


def test_frozen_parameters_stay_to_the_bit_in_spite_of_weight_decay():
    before = model().state_dict()
    after = trained(freeze=("head.*", "features.0.bias"), weight_decay=0.5)
    for name, tensor in before.items():
        frozen = name.startswith(("head.", "normalise.")) or name == "features.0.bias"
        assert torch.equal(tensor, after[name]) == frozen, name


def test_calls_back_after_every_epoch():
    calls: list[None] = []
    train(model(), IMAGES, LABELS, spec(epochs=3), seed=0, epoch_done=lambda: calls.append(None))
    assert len(calls) == 3


def test_freeze_pattern_without_a_match_names_the_parameters():
    with pytest.raises(RecipeError, match=r"'haed\.\*' matches no parameter.*head\.weight"):
        trained(freeze=("haed.*",))


def test_freezing_everything_is_an_error():
    with pytest.raises(RecipeError, match="no parameter to train"):
        trained(freeze=("*",))


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(TrainingError, match=r"after epoch 1 with learning rate 1e\+30.*Lower"):
        trained(learning_rate=1e30)
