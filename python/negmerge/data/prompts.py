"""What a text tower is told about the classes of a data set.

The templates are those that CLIP's authors chose for each data set, which NegMerge's protocol uses; sets
that they did not have, and classes that have no name of their own, are worded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

_SOME = ("a", "the")


def prompts(name: str, class_names: Sequence[str]) -> list[list[str]]:
    """Every template of data set ``name``, filled in with each class name: ``[classes][templates]``.

    A class is represented by the normalised mean of the embeddings of its texts.
    """
    wordings = templates(name)
    return [[wording.format(class_name) for wording in wordings] for class_name in class_names]


def templates(name: str) -> tuple[str, ...]:
    """The templates of a data set, ``{}`` standing for the class; those of any photograph for an unknown
    one.
    """
    if name in ("imagenet", "tiny-imagenet"):
        from open_clip import OPENAI_IMAGENET_TEMPLATES

        return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    return _TEMPLATES.get(name, _PHOTOGRAPH)


def _combined(pattern: str, *choices: Sequence[str]) -> tuple[str, ...]:
    """``pattern`` with each of ``choices`` in every combination. ``@`` is the class."""
    texts = (" ".join(pattern.format(*words).split()) for words in product(*choices))
    return tuple(text.replace("@", "{}") for text in texts)


_PHOTOGRAPH = _combined("a photo of {} @.", _SOME)
_NUMBER = ('a photo of the number: "{}".',)
_LOOKS = ("", "blurry", "black and white", "low contrast", "high contrast", "bad", "good", "small", "big")
_VIEWS = (
    "satellite imagery",
    "aerial imagery",
    "satellite photo",
    "aerial photo",
    "satellite view",
    "aerial view",
)

_TEMPLATES: dict[str, tuple[str, ...]] = {
    "digits": _NUMBER,
    "mnist": _NUMBER,
    "svhn": _NUMBER,
    "cifar10": (
        *(f"a {look} photo of a {{}}.".replace("  ", " ") for look in _LOOKS),
        *(f"a {look} photo of the {{}}.".replace("  ", " ") for look in _LOOKS),
    ),
    "fashion-mnist": (
        "a photo of a {}.",
        "a grey photo of a {}, a piece of clothing.",
        "a small picture of a {} from a shop.",
    ),
    "gtsrb": _combined('a {} photo of a "@" traffic sign.', ("zoomed in", "centered", "close up")),
    "dtd": _combined("a photo of {} @ {}.", _SOME, ("texture", "pattern", "thing", "object")),
    "eurosat": _combined("a centered satellite photo of {} @.", ("", *_SOME)),
    "stanford-cars": (
        *_combined("a photo of {} @.", (*_SOME, "my")),
        "i love my {}!",
        *_combined("a photo of my {} @.", ("dirty", "clean", "new", "old")),
    ),
    "sun397": _PHOTOGRAPH,
    "resisc45": _combined("{} of {} @.", _VIEWS, ("", *_SOME)),
    "food101": ("a photo of {}, a type of food.",),
    "cub": ("a photo of a {}, a type of bird.",),
}
_TEMPLATES["cifar100"] = _TEMPLATES["cifar10"]
