from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from negmerge.compute import CPU
from negmerge.data.prompts import prompts, templates
from negmerge.errors import RecipeError
from negmerge.models import MODELS
from negmerge.models.clip.clip import Clip
from negmerge.models.clip.text_head import TextHead, head_weights
from negmerge.recipe import Model
from safetensors.torch import load_file
from tiny_clip import MEAN, SIDE, STD, save_tiny_clip
from torch.nn import functional

CLASSES = ("cat", "dog", "tower")


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("tiny") / "clip", seed=3)


def load(name: str, *, with_weights: bool = True, **options: object) -> Clip:
    torch.manual_seed(0)
    return MODELS.get(name)(Model(name=name, **options), with_weights=with_weights)


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> Clip:
    return load(f"open_clip/local-dir:{tiny_folder}")


def test_a_folder_gives_architecture_weights_and_preprocessing(tiny_folder, tiny):
    saved = load_file(tiny_folder / "open_clip_model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in tiny.model.state_dict().items())
    assert (tiny.side, list(tiny.mean), list(tiny.std)) == (SIDE, MEAN, STD)
    random = load(f"open_clip/local-dir:{tiny_folder}", with_weights=False)
    assert not torch.equal(random.model.state_dict()["visual.proj"], saved["visual.proj"])


def test_the_head_is_open_clips(tiny):
    from open_clip import build_zero_shot_classifier

    wordings = [wording.format for wording in templates("cifar10")]
    wanted = build_zero_shot_classifier(tiny.model, tiny.tokenize, CLASSES, wordings, device="cpu")
    found = head_weights(tiny, prompts("cifar10", CLASSES), CPU)
    torch.testing.assert_close(found, wanted.T * tiny.model.logit_scale.exp().item())


def test_tower_and_head_give_open_clips_logits(tiny):
    images = torch.rand(5, 3, SIDE, SIDE)
    weight = head_weights(tiny, [["a cat"], ["a dog"]], CPU)
    logits = TextHead(weight)(tiny.image_tower().eval()(images))
    normalised = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        wanted, _ = tiny.model.eval().get_logits(normalised, tiny.tokenize(["a cat", "a dog"]))
    torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)


def test_the_tower_is_a_copy_under_open_clips_names(tiny):
    tower = tiny.image_tower()
    whole = tiny.model.state_dict()
    assert set(tower.state_dict()) == {name for name in whole if name.startswith("visual.")}
    with torch.no_grad():
        tower.visual.proj += 1
    assert not torch.equal(tower.visual.proj, tiny.model.visual.proj)


def test_a_head_is_outside_checkpoints_and_optimizers():
    head = TextHead(torch.ones(2, 3))
    assert list(head.parameters()) == []
    assert dict(head.state_dict()) == {}
    embeddings = torch.rand(4, 3, requires_grad=True)
    functional.cross_entropy(head(embeddings), torch.zeros(4, dtype=torch.long)).backward()
    assert embeddings.grad is not None
    assert head.weight.grad is None


def test_logits_are_not_rounded_by_autocast():
    head, embeddings = TextHead(100 * torch.rand(2, 3)), torch.rand(4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(embeddings)
        assert (embeddings @ head.weight.T).dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, head(embeddings), rtol=0, atol=0)


def test_images_are_scaled_as_pillow_scales_them(tiny):
    from PIL import Image

    pixels = torch.randint(0, 256, (28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scaled = Image.fromarray(pixels.numpy()).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    seen = tiny.image_input()(pixels[None, None].float() / 255)[0]
    white = seen * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    wanted = torch.from_numpy(np.array(scaled)).float()
    for channel in white:
        assert (255 * channel - wanted).abs().max() <= 1.0


@pytest.mark.parametrize("name", ["clip/vit", "clip/efficientnet_lite0"])
def test_small_ones_are_clips(name):
    clip = load(name, image_size=32)
    tower = clip.image_tower().eval()
    assert tower(torch.rand(2, 1, 28, 28)).shape == (2, 256)
    assert head_weights(clip, prompts("mnist", CLASSES), CPU).shape == (3, 256)
    again = load(name, image_size=32).model.state_dict()
    assert all(torch.equal(tensor, again[key]) for key, tensor in clip.model.state_dict().items())


def test_the_small_one_begins_with_imagenet(tiny_folder):
    begun = load("clip/efficientnet_lite0", pretrained="imagenet").model.visual.trunk
    classifier = MODELS.get("efficientnet_lite0")(
        Model(name="efficientnet_lite0", pretrained="imagenet"), _shape()
    ).network
    assert torch.equal(begun.conv_stem.weight, classifier.conv_stem.weight)
    assert torch.equal(begun.bn2.running_var, classifier.bn2.running_var)


def _shape():  # type: ignore[no-untyped-def]
    from negmerge.models.shape import Shape

    return Shape(3, 32, 10, [0.5] * 3, [0.5] * 3)


def test_the_small_one_is_loaded_from_its_checkpoint(tmp_path):
    from negmerge.checkpoint import save_weights

    trained = load("clip/vit", image_size=16)
    with torch.no_grad():
        trained.model.logit_scale += 1
    save_weights(trained.model, tmp_path / "clip.safetensors")
    again = load("clip/vit", image_size=16, pretrained=str(tmp_path / "clip.safetensors"))
    assert torch.equal(again.model.logit_scale, trained.model.logit_scale)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("open_clip/local-dir:/absent", {}, "cannot be had: .*not found"),
        ("open_clip/ViT-B-32", {"pretrained": "opanai"}, "'opanai' cannot be had"),
        ("open_clip/ViT-B-32", {"pretrained": "openai"}, "another activation .*-quickgelu"),
        ("open_clip/ViT-B-32", {"image_size": 64}, "image_size does not apply"),
        ("clip/vit", {"pretrained": "imagenet"}, "'imagenet' means nothing to clip/vit"),
        ("clip/vit", {"image_size": 30}, "multiple of 8"),
    ],
)
def test_what_cannot_be_had_is_one_error(name, options, says, monkeypatch):
    import open_clip.factory

    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *words, **named: None)
    with pytest.raises(RecipeError, match=says):
        load(name, **options)
