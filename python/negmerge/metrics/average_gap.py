"""How far a model is from Retrain."""

from __future__ import annotations

from .measures import Measures


def average_gap(model: Measures, retrained: Measures) -> float:
    """Mean of the absolute differences in forget, retain and held-out accuracy and MIA-efficacy, in [0, 1].

    Source: Fan et al., SalUn, ICLR 2024, where it is given in points: 100 × this.
    """
    pairs = (
        (model.forget, retrained.forget),
        (model.retain, retrained.retain),
        (model.held_out, retrained.held_out),
        (model.mia_efficacy, retrained.mia_efficacy),
    )
    return sum(abs(ours - theirs) for ours, theirs in pairs) / len(pairs)
