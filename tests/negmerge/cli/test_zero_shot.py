from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from negmerge.data.digits import load
from negmerge.data.prompts import prompts
from negmerge.models import MODELS
from negmerge.recipe import Data, Model
from tiny_clip import save_tiny_clip


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"open_clip/local-dir:{save_tiny_clip(tmp_path_factory.mktemp('tiny') / 'clip')}"


def test_accuracies_are_those_of_the_prompts(invoke, name):
    from negmerge.data.splits import split

    done = invoke("zero-shot", name, "digits", "--threads", 1, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)["data_sets"]
    images = load()
    splits = split(images, Data(name="digits"), 0)
    clip = MODELS.get(name)(Model(name=name), with_weights=True)
    clip.model.eval()
    with torch.inference_mode():
        tokens = clip.tokenize([texts[0] for texts in prompts("digits", images.class_names)])
        for part in ("validation", "test"):
            rows = getattr(splits, part)
            pixels = clip.image_input()(torch.from_numpy(images.images[rows]).float() / 255)
            logits, _ = clip.model.get_logits(pixels, tokens)
            right = logits.argmax(dim=1).numpy() == images.labels[rows]
            assert told[part] == pytest.approx(float(np.mean(right)), abs=2 / len(rows))
    assert told["published_test"] is None


def test_published_accuracies_stand_beside(invoke, name, monkeypatch):
    from negmerge import published_zero_shot as published
    from negmerge.data import DATA_SETS

    monkeypatch.setitem(DATA_SETS._entries, "toy-grey", "toy_sets:GREY")
    monkeypatch.setitem(published.PUBLISHED, "toy-grey", published.Published(0.4825, 0.4818))
    done = invoke("zero-shot", name, "toy-grey", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "48.25" in done.stdout
    assert "48.18" in done.stdout
    assert "*" not in done.stdout
    of_others = published.Published(0.4825, 0.4818, "the wording of classes")
    monkeypatch.setitem(published.PUBLISHED, "toy-grey", of_others)
    shown = invoke("zero-shot", name, "toy-grey", "--quiet").stdout
    assert "48.25*" in shown
    assert "not of the same: toy-grey (the wording of classes)" in " ".join(shown.split())


def test_the_published_mean_is_the_papers():
    from negmerge.published_zero_shot import PUBLISHED

    tests = [of.test for name, of in PUBLISHED.items() if name != "imagenet"]
    assert len(tests) == 8
    assert 100 * sum(tests) / 8 == pytest.approx(48.13, abs=0.005)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("open_clip/ViT-B-23", "digits"), "did you mean 'ViT-B-32'?"),
        (("resnet18", "digits"), "resnet18 knows nothing of text"),
        (("clip/vit", "digitz"), "no data set is called 'digitz'; did you mean 'digits'?"),
        (("clip/vit", "digits", "--device", "gpu"), "device 'gpu': is no name of a device"),
    ],
)
def test_what_is_unknown_is_named(invoke, arguments, says):
    done = invoke("zero-shot", *arguments)
    assert done.returncode == 3
    assert says in done.stderr


def test_random_weights_are_refused(invoke):
    done = invoke("zero-shot", "clip/vit", "digits")
    assert done.returncode == 3
    assert "clip/vit would begin with random weights" in done.stderr
    assert "(--pretrained)" in done.stderr
