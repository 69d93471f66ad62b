from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from negmerge.compute import Compute
from negmerge.data.examples import Examples
from negmerge.data.image_set import ImageSet
from negmerge.data.training_batches import Batch, TrainingBatches
from negmerge.errors import RecipeError, TrainingError
from negmerge.evaluate import predict
from negmerge.metrics.accuracy import accuracy
from negmerge.models import MODELS
from negmerge.models.resnet18 import ResNet18
from negmerge.models.shape import Shape
from negmerge.models.small_cnn import SmallCNN
from negmerge.recipe import Model, Training
from negmerge.train import _trained, train

# Class 0: the upper half is bright. Class 1: the lower half.
LABELS = torch.arange(64) % 2
RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 60, (64, 1, 8, 8), dtype=torch.uint8, generator=RANDOM)
IMAGES[LABELS == 0, :, :4] += 180
IMAGES[LABELS == 1, :, 4:] += 180
EXAMPLES = [
    Examples("halves", ImageSet("halves", IMAGES.numpy(), LABELS.numpy(), ("up", "down")), np.arange(64))
]


def model() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4, channels=1, classes=2, mean=[0.4], std=[0.3])


def spec(**changes: float) -> Training:
    return Training(**({"epochs": 5, "learning_rate": 0.01, "batch_size": 16} | changes))


def trained(freeze: tuple[str, ...] = (), seed: int = 1, **changes: float) -> dict[str, torch.Tensor]:
    net = model()
    train(net, EXAMPLES, spec(**changes), seed=seed, freeze=freeze)
    return net.state_dict()


def test_learns_what_can_be_learnt():
    net = model()
    first = train(net, EXAMPLES, spec(epochs=1), seed=1)
    last = train(net, EXAMPLES, spec(), seed=1)
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
    train(model(), EXAMPLES, spec(epochs=3), seed=0, epoch_done=lambda: calls.append(None))
    assert len(calls) == 3


@pytest.mark.parametrize("epochs", [1, 0.5])
def test_what_a_signal_handler_raises_while_an_epoch_ends_is_not_lost(monkeypatch, epochs):
    whole = TrainingBatches.epoch

    def interrupted(*args: Any) -> Iterator[list[Batch]]:
        try:
            yield from whole(*args)
        finally:
            sys.exit(143)

    monkeypatch.setattr(TrainingBatches, "epoch", interrupted)
    with pytest.raises(SystemExit):
        trained(epochs=epochs)


def test_a_fraction_of_an_epoch_is_its_first_steps():
    # Of a constant rate, so that the steps themselves are the same.
    steady = {"schedule": "constant", "warm_up": 0}
    seen: list[int] = []

    class Counting(torch.nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            seen.append(len(logits))
            return logits

    counted = [replace(EXAMPLES[0], head=Counting())]
    for epochs in (0.5, 1.5):
        train(model(), counted, spec(epochs=epochs, **steady), seed=1)
    assert seen == [16] * 2 + [16] * 6


@pytest.mark.parametrize(
    ("pattern", "nearest"), [("haed.*", "head.*"), ("head.wieght", "head.weight"), ("heads.*", "head.*")]
)
def test_freeze_pattern_without_a_match_names_the_nearest(pattern, nearest):
    with pytest.raises(RecipeError, match="matches no parameter") as caught:
        trained(freeze=(pattern,))
    assert str(caught.value).endswith(
        f"'{pattern}' matches no parameter of the model; did you mean '{nearest}'?"
    )


def test_freeze_pattern_that_is_near_nothing_names_a_few_parameters():
    with pytest.raises(RecipeError) as caught:
        trained(freeze=("qqq",))
    names = [name for name, _ in model().named_parameters()]
    assert len(names) > 5
    assert str(caught.value).endswith(f"; known: {', '.join(names[:5])}, …")


def test_freezing_everything_is_an_error():
    with pytest.raises(RecipeError, match="no parameter is left to train"):
        trained(freeze=("*",))


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(TrainingError, match=r"after epoch 1 with learning rate 1e\+30.*Lower"):
        trained(learning_rate=1e30)


class WithStatistics(torch.nn.Module):
    """A linear layer behind BatchNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(1)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(64, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.drop(self.norm(images)).flatten(1))
        return logits


def with_statistics(*, freeze_statistics: bool, seed: int = 1) -> tuple[dict, dict]:
    torch.manual_seed(0)
    net = WithStatistics()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    train(net, EXAMPLES, spec(), seed=seed, freeze_statistics=freeze_statistics)
    assert not net.norm.training
    return before, net.state_dict()


def test_running_statistics_move_unless_they_are_frozen():
    for frozen in (True, False):
        before, after = with_statistics(freeze_statistics=frozen)
        for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
            assert torch.equal(before[name], after[name]) == frozen, name
        assert not torch.equal(before["norm.weight"], after["norm.weight"])


def test_dropout_draws_by_the_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    _, first = with_statistics(freeze_statistics=True)
    _, again = with_statistics(freeze_statistics=True)
    assert all(torch.equal(first[name], again[name]) for name in first)
    torch.random.set_rng_state(state)
    net = WithStatistics()
    state = torch.random.get_rng_state()
    train(net, EXAMPLES, spec(epochs=1), seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sgd_with_momentum_is_torchs():
    # One batch of all images and no changes: plain full-batch gradient descent.
    ours, theirs = model(), model()
    train(
        ours,
        EXAMPLES,
        spec(
            optimizer="sgd",
            momentum=0.8,
            weight_decay=0.1,
            batch_size=64,
            clip=None,
            warm_up=0,
            schedule="constant",
        ),
        seed=1,
    )
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.8, weight_decay=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(theirs(IMAGES.float() / 255), LABELS).backward()
        optimizer.step()
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[name], atol=1e-5, rtol=1e-4)


def test_gradients_are_clipped_only_if_asked():
    huge = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "learning_rate": 1.0,
        "epochs": 1,
        "batch_size": 64,
        "warm_up": 0,
    }
    start = model().state_dict()
    moved = {}
    for clip in (0.01, None):
        after = trained(clip=clip, **huge)
        moved[clip] = sum(((after[name] - start[name]) ** 2).sum() for name in start).sqrt().item()
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)
    assert moved[None] > 0.02


def test_lower_precision_learns_too():
    net = model()
    train(net, EXAMPLES, spec(), seed=1, compute=Compute(torch.device("cpu"), torch.bfloat16))
    assert {tensor.dtype for tensor in net.state_dict().values()} == {torch.float32}
    assert accuracy(predict(net, IMAGES), LABELS) == 1.0


def test_several_sets_are_trained_on_by_their_own_heads():
    class Swapped(torch.nn.Module):
        def forward(self, logits: torch.Tensor) -> torch.Tensor:
            return logits.flip(1)

    upside_down = ImageSet("swapped", IMAGES.numpy(), 1 - LABELS.numpy(), ("up", "down"))
    both = [*EXAMPLES, Examples("swapped", upside_down, np.arange(64), Swapped())]
    net = model()
    loss = train(net, both, spec(epochs=6), seed=1)
    assert loss < 0.3, "with one head the labels would contradict each other"


class TestAttention:
    @pytest.mark.parametrize(
        ("name", "inside", "outside"),
        [
            ("timm/test_vit", "blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"),
            ("swin_t", "features.1.0.attn.qkv.weight", "features.1.0.mlp.0.weight"),
        ],
    )
    def test_is_frozen_by_name_in_every_library(self, name, inside, outside):
        net = MODELS.get(name)(Model(name=name), Shape(3, 32, 2, [0.5], [0.5]))
        parameters = _trained(net, ["attention"])
        names = {one for one, parameter in net.named_parameters() if parameter.requires_grad}
        assert f"network.{inside}" not in names
        assert f"network.{outside}" in names
        assert len(parameters) == len(names)

    def test_of_which_there_is_none(self):
        with pytest.raises(RecipeError, match="'attention' matches no parameter"):
            trained(freeze=("attention",))


@pytest.mark.parametrize(("width", "layout"), [(4, torch.contiguous_format), (8, torch.channels_last)])
@pytest.mark.parametrize(
    "change",
    [{"crop": 1}, {"resized_crop": 0.5}, {"flip": True}, {"augmentation": 1.0}, {"randaugment_n": 1}],
)
def test_images_have_the_order_of_dimensions_that_is_safe_for_the_model(width, layout, change):
    """Whatever was done to them: in another order, torch writes past the memory of a narrow model."""
    images = np.random.default_rng(0).integers(0, 255, (16, 3, 8, 8), dtype=np.uint8)
    labels = np.arange(16) % 2
    examples = [Examples("noise", ImageSet("noise", images, labels, ("even", "odd")), np.arange(16))]
    model, seen = ResNet18(width=width, classes=2), []
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    spec = Training(epochs=1, learning_rate=0.01, batch_size=8, **change)
    train(model, examples, spec, seed=1)
    assert len(seen) == 2
    assert all(pixels.is_contiguous(memory_format=layout) for pixels in seen)
