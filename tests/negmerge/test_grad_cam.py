from __future__ import annotations

import pytest
import torch
from negmerge.grad_cam import NoFeatureMapError, grad_cam
from torch import nn


class Network(nn.Module):
    """A feature map from one convolution, its mean, and a linear head: all maps can be told by hand."""

    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.features = nn.Conv2d(1, 4, 3, padding=1)
        self.turn = _ToLast() if channels_last else nn.Identity()
        self.head = nn.Linear(4, 3)
        self._across = (1, 2) if channels_last else (2, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.turn(self.features(images)).mean(dim=self._across))
        return logits


class _ToLast(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.movedim(1, 3)


class Tokens(nn.Module):
    """Patches, a module that mixes tokens, and a head that reads the first of them."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 8, 2, stride=2)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.mix(self.patches(images).flatten(2).transpose(1, 2))
        logits: torch.Tensor = self.head(tokens[:, 0])
        return logits


IMAGES = torch.randint(0, 256, (5, 1, 6, 6), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 2, 1, 0])


def by_hand(model: Network) -> torch.Tensor:
    """The logit is Σ_c w_c · mean(A_c), so its gradient is w_c / (h · w) everywhere in A_c."""
    features = model.features(IMAGES.float() / 255)
    weights = model.head.weight[LABELS] / 36
    return (weights[:, :, None, None] * features).sum(dim=1).relu()


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_of_a_network_that_can_be_told_by_hand(channels_last):
    model = Network(channels_last=channels_last)
    found = grad_cam(model, IMAGES, LABELS)
    torch.testing.assert_close(found.maps, by_hand(model).detach())
    torch.testing.assert_close(found.logits, model(IMAGES.float() / 255).detach())
    assert found.layer == "turn"
    assert found.maps.any()


def test_frozen_parameters_do_not_matter_and_no_gradient_is_left():
    model = Network()
    expected = by_hand(model).detach()
    model.requires_grad_(requires_grad=False)
    torch.testing.assert_close(grad_cam(model, IMAGES, LABELS).maps, expected)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.features._forward_hooks


def test_pools_and_single_pixels_are_no_maps():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    assert grad_cam(model, IMAGES, LABELS).layer == "1"


def test_tokens_without_a_normalisation_have_no_map():
    with pytest.raises(NoFeatureMapError, match="tokens"):
        grad_cam(Tokens(), IMAGES, LABELS)


class Patches(nn.Module):
    """A class token and 25 patches, whose mean reaches the logits through the class token alone."""

    def __init__(self, *, tokens_first: bool = False, registers: int = 1) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.patches = nn.Conv2d(1, 8, 2)
        self.before = nn.LayerNorm(8)
        self.after = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self._turn, self._registers = tokens_first, registers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([torch.zeros(len(images), self._registers, 8), patches], dim=1)
        tokens = self.before(tokens.transpose(0, 1) if self._turn else tokens)
        self.seen = tokens.transpose(0, 1) if self._turn else tokens
        mean = self.seen[:, self._registers :].mean(dim=1)
        mixed = torch.cat([mean[:, None], self.seen[:, 1:]], dim=1)
        logits: torch.Tensor = self.head(self.after(mixed)[:, 0])
        return logits


@pytest.mark.parametrize("tokens_first", [False, True])
@pytest.mark.parametrize("registers", [1, 5])
def test_patches_of_a_transformer_are_a_map(tokens_first, registers):
    """The gradient is the same at all patches: that of their mean, a 25th."""
    model = Patches(tokens_first=tokens_first, registers=registers)
    found = grad_cam(model, IMAGES, LABELS)
    assert found.layer == "before", "behind it no patch has a say"
    logits = model(IMAGES.float() / 255)
    (gradient,) = torch.autograd.grad(logits.gather(1, LABELS[:, None]).sum(), model.seen)
    weights = gradient[:, registers:].mean(dim=1)
    expected = (model.seen[:, registers:] * weights[:, None]).sum(dim=2).relu().unflatten(1, (5, 5))
    torch.testing.assert_close(found.maps, expected.detach())
    assert found.maps.any()


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "timm/deit_tiny_distilled_patch16_224"])
def test_vision_transformers_of_timm_have_maps(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(name.removeprefix("timm/"), num_classes=3, img_size=64)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    found = grad_cam(model, images, LABELS[:2])
    assert found.layer == "blocks.11.norm1"
    assert found.maps.shape == (2, 4, 4)
    assert found.maps.any()
