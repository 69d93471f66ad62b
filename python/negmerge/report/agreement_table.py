"""The table of sign agreement by layer."""

from __future__ import annotations

from collections.abc import Sequence

from ..agreement import Agreement, TensorAgreement
from ..layers import by_layer
from .cells import ABSENT, percent
from .grid import Grid


def agreement_table(agreement: Agreement) -> Grid:
    """A row per layer in model order, and one for all of them.

    Kept elements are given as shares of the row's own elements, which the notes say.
    """
    rows = [_row(name, tensors, agreement.models) for name, tensors in by_layer(agreement.tensors).items()]
    rows.append(_row("All merged layers", agreement.tensors, agreement.models))
    of_model = percent(agreement.kept / agreement.model_elements if agreement.model_elements else None, 2)
    notes = [
        f"Kept: share of the row's own elements on whose sign all {agreement.models} task vectors agree. "
        "Parameters that fine-tuning left alone have exact zeros and count as not kept.",
        f"In all, {agreement.kept:,} elements are kept: "
        f"{percent(agreement.kept / agreement.elements if agreement.elements else None, 2)} % of the "
        f"{agreement.elements:,} merged ones, {of_model} % of all {agreement.model_elements:,} of the model.",
    ]
    if agreement.histogram is None:
        notes.append(
            "The pool was merged as it was trained and not kept: how far it agrees beyond that is not known."
        )
    else:
        notes.append(
            "Agree: share of the models in an element's larger sign camp, averaged over the row's elements."
        )
    return Grid(
        "Sign agreement by layer", ("Elements", "Kept\n%", "Agree\n%"), tuple(rows), tuple(notes), "Layer"
    )


def kept_fractions(agreement: Agreement) -> list[float]:
    """What the rows of the table keep, in [0, 1]."""
    layers: list[Sequence[TensorAgreement]] = [*by_layer(agreement.tensors).values(), agreement.tensors]
    return [_kept(tensors) for tensors in layers]


def _kept(tensors: Sequence[TensorAgreement]) -> float:
    elements = sum(tensor.elements for tensor in tensors)
    return sum(tensor.kept for tensor in tensors) / elements if elements else 0.0


def _row(name: str, members: Sequence[TensorAgreement], models: int) -> tuple[str, ...]:
    elements = sum(tensor.elements for tensor in members)
    agree: float | None = None
    if elements and all(tensor.agreement is not None for tensor in members):
        camps = sum(size * count for tensor in members for size, count in enumerate(tensor.agreement or ()))
        agree = camps / (models * elements)
    return name, f"{elements:,}", percent(_kept(members), 2), ABSENT if agree is None else percent(agree, 1)
