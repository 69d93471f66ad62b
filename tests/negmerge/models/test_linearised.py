from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from negmerge.data.examples import Examples
from negmerge.data.image_set import ImageSet
from negmerge.evaluate import predict
from negmerge.models import MODELS
from negmerge.models.linearised import Linearised
from negmerge.models.shape import Shape
from negmerge.recipe import Model, Training
from negmerge.train import train
from tiny_clip import save_tiny_clip
from torch import nn
from torch.func import functional_call

SHAPE = Shape(channels=3, side=16, classes=5, mean=[0.5] * 3, std=[0.2] * 3)
IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
_PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), dtype=np.uint8)
EXAMPLES = [Examples("noise", ImageSet("noise", _PIXELS, np.arange(20) % 5, tuple("abcde")), np.arange(20))]
SPEC = Training(epochs=2, learning_rate=0.001, batch_size=10)


class Attention(nn.Module):
    """Layers of torch that take a kernel of their own in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(48, 4, dropout=0.5, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(48, 4, 16, dropout=0.5, batch_first=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = images.flatten(2).transpose(1, 2).reshape(len(images), 16, 48)
        mixed: torch.Tensor = self.layer(self.attention(tokens, tokens, tokens, need_weights=False)[0])
        return mixed.mean(dim=1)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], nn.Module]:
    folder: Path = save_tiny_clip(tmp_path_factory.mktemp("tiny") / "clip")

    def built(name: str) -> nn.Module:
        torch.manual_seed(0)
        if name == "attention":
            return Attention()
        if name == "tiny clip":
            name = f"open_clip/local-dir:{folder}"
            tower: nn.Module = MODELS.get(name)(Model(name=name), with_weights=True).image_tower()
            return tower
        if name.startswith("clip/"):
            spec = Model(name=name, image_size=16)
            small: nn.Module = MODELS.get(name)(spec, with_weights=False).image_tower()
            return small
        options = {"width": 8} if name in ("small_cnn", "resnet18") else {}
        model: nn.Module = MODELS.get(name)(Model(name=name, **options), SHAPE)
        return model

    return built


NAMES = [
    *("small_cnn", "resnet18", "attention", "tiny clip", "clip/vit", "clip/efficientnet_lite0"),
    pytest.param("swin_t", marks=pytest.mark.slow),
]


def settled(model: nn.Module) -> nn.Module:
    """With running statistics that are those of images, in float64 and in eval mode."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.rand(16, *IMAGES.shape[1:], generator=torch.Generator().manual_seed(3)))
    return model.double().eval()


def offsets(model: nn.Module, seed: int = 1) -> dict[str, torch.Tensor]:
    """Random ones, as large as the parameters are on average."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: one.abs().mean().clamp(min=0.01) * torch.randn(one.shape, generator=generator, dtype=one.dtype)
        for name, one in model.named_parameters()
    }


@torch.no_grad()
def moved(model: nn.Module, by: dict[str, torch.Tensor], times: float) -> None:
    for name, one in model.named_parameters():
        one += times * by[name]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_model_at_its_weights_and_moves_along_its_derivative(build, name):
    model = settled(build(name))
    images = IMAGES.double()
    expanded = Linearised(copy.deepcopy(model))
    by = offsets(model)
    with torch.no_grad():
        before = model(images)
        unmoved = expanded(images)
        moved(expanded, by, 1e-14)
        at_origin = expanded(images)
        moved(expanded, by, -1e-14)
        for answer in (unmoved, at_origin):
            torch.testing.assert_close(answer, before, rtol=1e-10, atol=1e-10)
        weights, step = dict(model.named_parameters()), 1e-10
        ahead, behind = (
            functional_call(model, {key: one + sign * step * by[key] for key, one in weights.items()}, images)
            for sign in (1, -1)
        )
        derivative = (ahead - behind) / (2 * step)
        found = []
        for _ in range(2):
            moved(expanded, by, 1.0)
            found.append(expanded(images) - at_origin)
        moved(expanded, by, -4.0)
        found.append(expanded(images) - at_origin)
    scale = derivative.abs().max().item()
    assert scale > 1e-3
    torch.testing.assert_close(found[0], derivative, rtol=1e-4, atol=1e-4 * scale)
    for change, times in zip(found[1:], (2.0, -2.0), strict=True):
        torch.testing.assert_close(change, times * found[0], rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_its_gradient_is_the_models_at_the_origin(build, name):
    """The loss is linear in the answers, so that its gradient does not depend on where θ is."""
    model = build(name).eval()
    toward = torch.randn(model(IMAGES).shape, generator=torch.Generator().manual_seed(2))
    expanded = Linearised(copy.deepcopy(model))
    moved(expanded, offsets(model), 0.5)
    (toward * model(IMAGES)).sum().backward()
    (toward * expanded(IMAGES)).sum().backward()
    wanted = {key: one.grad for key, one in model.named_parameters()}
    for key, one in expanded.named_parameters():
        scale = wanted[key].abs().max().item()
        torch.testing.assert_close(one.grad, wanted[key], rtol=1e-3, atol=1e-3 * max(scale, 1e-3), msg=key)


@pytest.mark.parametrize("name", ["resnet18", "attention", "tiny clip"])
def test_inference_mode_loses_no_derivative(build, name):
    expanded = Linearised(build(name))
    with torch.no_grad():
        pixels = (255 * IMAGES).to(torch.uint8)
        at_origin = expanded(pixels.float() / 255)
        moved(expanded, offsets(expanded), 0.5)
        of_pixels = expanded(pixels.float() / 255)
    torch.testing.assert_close(predict(expanded, pixels), of_pixels, rtol=1e-4, atol=1e-4)
    assert (of_pixels - at_origin).norm() > 0.01


def test_names_are_the_models_and_the_origin_is_in_no_checkpoint(build):
    model = build("resnet18")
    names, weights = [name for name, _ in model.named_parameters()], dict(model.state_dict())
    expanded = Linearised(copy.deepcopy(model))
    assert [name for name, _ in expanded.named_parameters()] == names
    assert list(expanded.state_dict()) == list(weights)
    assert dict(expanded.named_modules()).keys() == dict(model.named_modules()).keys()
    other = {name: one + 1 if one.is_floating_point() else one for name, one in weights.items()}
    before = expanded(IMAGES)
    expanded.load_state_dict(other)
    assert not torch.equal(expanded(IMAGES), before)
    expanded.load_state_dict(weights)
    assert torch.equal(expanded(IMAGES), before)
    assert torch.equal(copy.deepcopy(expanded)(IMAGES), before)


def test_the_origin_goes_where_the_parameters_go(build):
    expanded = Linearised(build("resnet18")).to(memory_format=torch.channels_last).double()
    assert expanded(IMAGES.double()).dtype == torch.float64
    origin = expanded._origin["network.conv1.weight"]
    assert origin.is_contiguous(memory_format=torch.channels_last)


def test_training_moves_what_is_not_frozen_and_no_statistics(build):
    expanded = Linearised(build("resnet18"))
    before = {name: one.clone() for name, one in expanded.state_dict().items()}
    loss = train(expanded, EXAMPLES, SPEC, seed=1, freeze=["network.layer1.*"])
    frozen = {name for name, one in expanded.state_dict().items() if torch.equal(one, before[name])}
    learnt = {name for name, _ in expanded.named_parameters()} - {
        name for name in before if name.startswith("network.layer1.")
    }
    assert frozen == before.keys() - learnt
    assert train(expanded, EXAMPLES, SPEC, seed=2) < loss


def test_what_was_changed_and_is_trained_no_more_counts_all_the_same(build):
    """As the rest does, which is trained."""
    expanded = Linearised(build("resnet18"))
    name = "network.layer1.0.conv1.weight"
    moved(expanded, {key: (key == name) * one for key, one in offsets(expanded).items()}, 1.0)
    with torch.no_grad():
        expected = expanded(IMAGES)
        expanded.load_state_dict(expanded.state_dict() | {name: expanded._origin[name]})
        assert not torch.equal(expanded(IMAGES), expected)
        moved(expanded, {key: (key == name) * one for key, one in offsets(expanded).items()}, 1.0)
    for key, one in expanded.named_parameters():
        one.requires_grad_(not key.startswith("network.layer1."))
    torch.testing.assert_close(expanded(IMAGES), expected)


def test_dropout_is_off_while_it_is_trained(build):
    expanded = Linearised(build("attention")).train()
    assert expanded.training
    assert torch.equal(expanded(IMAGES), expanded(IMAGES))
