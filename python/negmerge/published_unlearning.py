"""What NegMerge's paper reports of unlearned classifiers, beside which runs of the same setting are shown.

Source: Kim et al., NegMerge: Sign-Consensual Weight Merging for Machine Unlearning, ICML 2025, as its
reproductions and notes on it quote it; what they do not quote is absent here. Means of three runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """A method's measures, and their average gap to Retrain: shares in [0, 1], ``None`` where not known."""

    gap: float
    forget: float | None = None
    retain: float | None = None
    held_out: float | None = None
    mia_efficacy: float | None = None


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table of the paper. rows: by the name of the method here."""

    title: str
    rows: Mapping[str, PublishedRow]


_RESNET18 = PublishedTable(
    "table 2",
    {
        "retrain": PublishedRow(0.0, 0.9476, 1.0, 0.9426, 0.1288),
        "single": PublishedRow(0.0162, 0.9485, 0.9836, 0.9149, 0.1091),
        "uniform": PublishedRow(0.0175),
        "negmerge": PublishedRow(0.0107),
    },
)
_VGG16 = PublishedTable(
    "table on VGG-16",
    {
        "retrain": PublishedRow(0.0, 0.9402, 0.9999, 0.9306, 0.1036),
        "single": PublishedRow(0.0164),
        "negmerge": PublishedRow(0.0150),
    },
)
#: By the name of the architecture: a tenth of CIFAR-10's training images is forgotten, in SalUn's splits.
_OF_CIFAR10 = {"resnet18": _RESNET18, "vgg16_bn": _VGG16}


def published_of(recipe: Mapping[str, Any]) -> PublishedTable | None:
    """The table of the setting of a recipe, given as plain data; ``None`` if none of the paper's is known.

    A setting is data, splits, forget set and architecture. How models are trained, and how a coefficient is
    chosen, is a recipe's own affair: the paper's way was not published in full.
    """
    data, model, forget = recipe["data"], recipe["model"], recipe["forget"] or {}
    same = (
        (data["name"], data["validation"], data["split_seed"]) == ("cifar10", "salun", None)
        and forget.get("fraction") == 0.1
        and model["width"] in (None, 64)
        and model["pretrained"] is None
        and model["image_size"] in (None, 32)
    )
    return _OF_CIFAR10.get(model["name"]) if same else None
