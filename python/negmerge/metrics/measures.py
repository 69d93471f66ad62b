"""The measures by which an unlearned classifier is compared with Retrain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .accuracy import accuracy
from .mia_efficacy import mia_efficacy
from .mia_logistic import Attack, logistic_attack
from .outputs import Outputs, confidence


@dataclass(frozen=True, slots=True)
class Measures:
    """Shares in [0, 1].

    forget, retain: accuracy on the training images to be forgotten, and on those to be retained. held_out:
    accuracy on images of a split that no model was trained on, of retained classes. mia_efficacy: see
    :mod:`.mia_efficacy`. attack: see :mod:`.mia_logistic`; ``None`` if it was not made.
    """

    forget: float
    retain: float
    held_out: float
    mia_efficacy: float
    attack: Attack | None

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Measures:
        """The inverse of :func:`dataclasses.asdict`."""
        attack = plain["attack"]
        return cls(**{**plain, "attack": attack if attack is None else Attack(**attack)})


def measuring(
    forget: Outputs, retain: Outputs, held_out: Outputs, unseen_forget: Outputs | None
) -> Callable[[], Measures]:
    """A function that makes all measures. Attacks take seconds; it may be called in another thread.

    It holds no logits of retained images, so that many may wait. unseen_forget: images that were never
    trained on, of the classes of the forget set; without them the attack, which does not enter the average
    gap, is not made.
    """
    of_forget, of_retain, of_held_out = (
        accuracy(part.logits, part.labels) for part in (forget, retain, held_out)
    )
    confidences = [confidence(part) for part in (retain, held_out, forget)]

    def measured() -> Measures:
        return Measures(
            forget=of_forget,
            retain=of_retain,
            held_out=of_held_out,
            mia_efficacy=mia_efficacy(*confidences),
            attack=None if unseen_forget is None else logistic_attack(forget, unseen_forget),
        )

    return measured
