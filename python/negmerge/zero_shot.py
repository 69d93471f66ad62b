"""What a model of images and text makes of data sets without being trained on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .compute import Compute
from .data.divided import DataSet
from .data.examples import Examples
from .data.prompts import prompts
from .errors import RecipeError
from .evaluate import outputs
from .metrics.accuracy import accuracy
from .models import MODELS
from .models.clip.clip import Clip
from .models.clip.text_head import TextHead, head_weights
from .published_zero_shot import PUBLISHED
from .recipe import Data, Model


@dataclass(frozen=True, slots=True)
class ZeroShot:
    """Accuracies in [0, 1] on one data set.

    validation, test: of the model. images: their numbers. published_validation, published_test: of OpenAI's
    ViT-B/32 in the results of NegMerge's authors; ``None`` where they are not known. published_differs: what
    of theirs is not ours, so that accuracies differ with the same weights, too.
    """

    label: str
    validation: float
    test: float
    images: dict[str, int]
    published_validation: float | None
    published_test: float | None
    published_differs: str | None


def zero_shot(
    spec: Model, data: Sequence[Data], compute: Compute, done: Callable[[], None] = lambda: None
) -> list[ZeroShot]:
    """Accuracies on the validation and the test split of each data set, by its prompts.

    done: called after each. Raises :class:`~negmerge.errors.InputError` for a model or data that cannot be
    had, and for a model without weights.
    """
    if not spec.brings_weights:
        raise RecipeError(
            f"{spec.name} would begin with random weights, which know nothing",
            remedy="Name what it was trained to: pretrained (--pretrained)",
        )
    clip: Clip = MODELS.get(spec.name)(spec, with_weights=True)
    tower = clip.image_tower()
    found = []
    for one in data:
        loaded = DataSet.load(one, seed=0)
        texts = prompts(loaded.images.name, loaded.images.class_names)
        head = TextHead(head_weights(clip, texts, compute))
        rows = {"validation": loaded.splits.validation, "test": loaded.splits.test}
        scores = {}
        for split, of_split in rows.items():
            said = outputs(tower, Examples(loaded.label, loaded.images, of_split, head), compute)
            scores[split] = accuracy(said.logits, said.labels)
        published = PUBLISHED.get(loaded.images.name)
        found.append(
            ZeroShot(
                label=loaded.label,
                validation=scores["validation"],
                test=scores["test"],
                images={split: len(of_split) for split, of_split in rows.items()},
                published_validation=None if published is None else published.validation,
                published_test=None if published is None else published.test,
                published_differs=None if published is None else published.differs,
            )
        )
        done()
    return found
