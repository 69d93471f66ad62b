"""The measures by which an unlearned classifier is compared with Retrain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .accuracy import accuracy
from .mia_efficacy import mia_efficacy
from .mia_logistic import Attack, logistic_attack
from .outputs import Outputs


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


def measure(forget: Outputs, retain: Outputs, held_out: Outputs, unseen_forget: Outputs | None) -> Measures:
    """All measures.

    unseen_forget: images that were never trained on, of the classes of the forget set; without them the
    attack, which does not enter the average gap, is not made.
    """
    return Measures(
        forget=accuracy(forget.logits, forget.labels),
        retain=accuracy(retain.logits, retain.labels),
        held_out=accuracy(held_out.logits, held_out.labels),
        mia_efficacy=mia_efficacy(retain, held_out, forget),
        attack=None if unseen_forget is None else logistic_attack(forget, unseen_forget),
    )
