from __future__ import annotations

import pytest
from negmerge.data import DATA_SETS
from negmerge.data.prompts import prompts, templates

#: Templates in NegMerge's protocol.
COUNTS = {
    "stanford-cars": 8,
    "dtd": 8,
    "eurosat": 3,
    "gtsrb": 3,
    "mnist": 1,
    "svhn": 1,
    "resisc45": 18,
    "sun397": 2,
    "cifar10": 18,
    "cifar100": 18,
    "food101": 1,
}


@pytest.mark.parametrize("name", [name for name in DATA_SETS.names if "imagenet" not in name])
def test_templates_are_different_texts_with_one_place_for_the_class(name):
    found = templates(name)
    assert len(set(found)) == len(found) == COUNTS.get(name, len(found))
    for template in found:
        assert template.count("{}") == 1
        assert template == " ".join(template.split())


def test_every_class_gets_every_template():
    texts = prompts("food101", ["apple pie", "pho"])
    assert texts == [["a photo of apple pie, a type of food."], ["a photo of pho, a type of food."]]
    assert 'a photo of the number: "3".' in prompts("mnist", ["3"])[0]
    assert prompts("eurosat", ["river"])[0] == [
        "a centered satellite photo of river.",
        "a centered satellite photo of a river.",
        "a centered satellite photo of the river.",
    ]


def test_a_set_that_nobody_worded_has_the_templates_of_photographs():
    assert templates("image-folder") == ("a photo of a {}.", "a photo of the {}.")


def test_imagenets_templates_are_open_clips():
    pytest.importorskip("open_clip")
    assert len(templates("imagenet")) == 80
    assert all(template.count("{}") == 1 for template in templates("imagenet"))
