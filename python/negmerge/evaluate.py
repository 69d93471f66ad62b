"""Accuracies of a model on forget and retain images, and the measures that compare it with Retrain."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

import numpy as np
import torch
from torch import nn

from .compute import CPU, Compute
from .data.examples import Examples, Part
from .frozen_front import FrozenFront
from .metrics.accuracy import accuracy
from .metrics.measures import Measures, measuring
from .metrics.outputs import Outputs
from .side_by_side import side_by_side

_BATCH = 256

#: The splits that models are evaluated on: what is chosen is chosen on validation, and test is for reporting.
Held = Literal["validation", "test"]
Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, slots=True)
class Scores:
    """Accuracies in [0, 1] on the forget and the retain images of a split.

    retain: with several retained data sets, the mean of theirs. by_set: theirs, by label; empty for one.
    """

    forget: float
    retain: float
    by_set: dict[str, float] = field(default_factory=dict)


class Evaluated(TypedDict):
    """All that is known of a model: on both splits, scores, and measures if the run compares with Retrain."""

    validation: Scores
    test: Scores
    validation_measures: Measures | None
    test_measures: Measures | None


#: Makes scores and measures of a model's answers, in whatever thread.
Measuring = Callable[[], tuple[Scores, Measures]]


class Evaluation:
    """Evaluates models on the validation and the test split.

    frozen: names of parameters that most of the models share.
    """

    def __init__(self, parts: Mapping[Split, Part], compute: Compute, frozen: Collection[str] = ()) -> None:
        self._parts = parts
        self._compute = compute
        self._front = FrozenFront(frozen)

    def expect(self, base: nn.Module) -> None:
        """Most models to come have the frozen layers of ``base``. Before any is evaluated."""
        self._front.expect(base.to(self._compute.device))

    def scores(self, model: nn.Module, split: Held) -> Scores:
        """Accuracies on one split, without augmentation."""
        part = self._parts[split]
        forget, retain = self._outputs(model, part.forget), [self._outputs(model, one) for one in part.retain]
        accuracies = [_accuracy(one) for one in retain]
        labels = [one.label for one in part.retain]
        return Scores(
            forget=_accuracy(forget),
            retain=math.fsum(accuracies) / len(accuracies),
            by_set=dict(zip(labels, accuracies, strict=True)) if len(labels) > 1 else {},
        )

    def measuring(self, model: nn.Module, split: Held, *, attack: bool) -> Measuring:
        """Ask the model; return a function that makes the same of its answers, and the measures whose unseen
        images are those of ``split``.

        For runs that forget a part of one data set. It takes a pass over training images too: of those to be
        retained all for the test split, and for validation, where many models are looked at, as many as
        there are held-out ones. MIA-efficacy takes no more of them. attack: whether to make the stronger
        attack as well.
        """
        forget, retained = self._trained_on(model, split)
        return self._measuring(model, split, forget, retained, attack=attack)

    def evaluated(self, model: nn.Module, *, measures: bool) -> Evaluated:
        """Everything on both splits; measures only if they are asked for."""
        if not measures:
            return Evaluated(
                validation=self.scores(model, "validation"),
                test=self.scores(model, "test"),
                validation_measures=None,
                test_measures=None,
            )
        forget, retained = self._trained_on(model, "test")
        fewer = retained.spread(self._retained_on("validation"))
        (validation, on_validation), (test, on_test) = side_by_side(
            (
                self._measuring(model, "validation", forget, fewer, attack=True),
                self._measuring(model, "test", forget, retained, attack=True),
            )
        )
        return Evaluated(
            validation=validation, test=test, validation_measures=on_validation, test_measures=on_test
        )

    def _trained_on(self, model: nn.Module, split: Held) -> tuple[Outputs, Outputs]:
        """What is said of the training images to be forgotten, and of those to be retained that are looked
        at beside the held-out ones of ``split``.
        """
        train = self._parts["train"]
        (retain,) = train.retain
        fewer = retain.spread(self._retained_on(split))
        # All that is retained is much, and a search does not ask about it.
        front = self._front if split == "validation" else None
        return self._outputs(model, train.forget), outputs(model, fewer, self._compute, front)

    def _retained_on(self, split: Held) -> int:
        """How many of the retained training images are looked at beside the held-out ones of ``split``."""
        (held_out,), (retain,) = self._parts[split].retain, self._parts["train"].retain
        return len(held_out if split == "validation" else retain)

    def _measuring(
        self, model: nn.Module, split: Split, forget: Outputs, retain: Outputs, *, attack: bool
    ) -> Measuring:
        part = self._parts[split]
        (others,) = part.retain
        held_out = self._outputs(model, others)
        if np.array_equal(part.forget.rows, self._parts["train"].forget.rows):
            # Single training images are forgotten: the split's other images are of the same classes.
            scores = Scores(_accuracy(forget), _accuracy(held_out))
            measures = measuring(forget, retain, held_out, held_out if attack else None)
        else:
            held_out_forget = self._outputs(model, part.forget)
            scores = Scores(_accuracy(held_out_forget), _accuracy(held_out))
            measures = measuring(forget, retain, held_out, held_out_forget if attack else None)
        return lambda: (scores, measures())

    def _outputs(self, model: nn.Module, examples: Examples) -> Outputs:
        return outputs(model, examples, self._compute, self._front)


def outputs(
    model: nn.Module, examples: Examples, compute: Compute = CPU, front: FrozenFront | None = None
) -> Outputs:
    """What ``model`` says of all examples, by their head.

    front: keeps what frozen layers make of the images, for the models that follow.
    """
    answer, batches = _answering(model, examples.head, compute, front), examples.batches(_BATCH)
    name = examples.label, examples.rows_sha256
    logits, labels = zip(
        *((answer(images, (*name, number)), labels) for number, (images, labels) in enumerate(batches)),
        strict=True,
    )
    return Outputs(torch.cat(logits).cpu(), torch.cat(labels))


def predict(
    model: nn.Module, images: torch.Tensor, head: nn.Module | None = None, compute: Compute = CPU
) -> torch.Tensor:
    """Logits ``[n, classes]``, in memory, of uint8 images ``[n, channels, height, width]``, in eval mode."""
    answer = _answering(model, head, compute)
    return torch.cat([answer(batch, None) for batch in torch.split(images, _BATCH)]).cpu()


def _answering(
    model: nn.Module, head: nn.Module | None, compute: Compute, front: FrozenFront | None = None
) -> Callable[[torch.Tensor, Hashable], torch.Tensor]:
    """Logits of a batch, on the device: nothing waits for it before the next batch is on its way.

    The batch is given with its name for ``front``.
    """
    model.to(compute.device).eval()
    head = nn.Identity() if head is None else head.to(compute.device)
    through = (front or FrozenFront(())).through(model)

    def answer(images: torch.Tensor, name: Hashable) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = head(through(name, lambda: compute.pixels(images))).float()
            return logits

    return answer


def _accuracy(of: Outputs) -> float:
    return accuracy(of.logits, of.labels)
