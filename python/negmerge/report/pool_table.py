"""The table of the pool: what its members were fine-tuned with, and what became of them."""

from __future__ import annotations

from ..results import Results
from .cells import ABSENT, percent
from .grid import Grid


def pool_table(results: Results) -> Grid:
    """A row per member, with the hyper-parameters in which the members differ."""
    members = results.pool
    names = [
        name
        for name in (members[0].hyperparameters if members else {})
        if len({str(member.hyperparameters[name]) for member in members}) > 1
    ]
    headings = (
        *(name.replace("_", " ") for name in names),
        "Loss",
        "Forget\nval.",
        "Retain\nval.",
        "Seconds",
    )
    several = len({member.device for member in members}) > 1
    rows = tuple(
        (
            f"{number:03d}",
            *(_value(member.hyperparameters[name]) for name in names),
            f"{member.loss:.4f}",
            *(percent(getattr(member.validation, part, None)) for part in ("forget", "retain")),
            f"{member.seconds:.1f}",
            *((member.device,) if several else ()),
        )
        for number, member in enumerate(members)
    )
    same = {
        name: value
        for name, value in (members[0].hyperparameters if members else {}).items()
        if name not in names
    }
    notes = (
        [f"Alike in all: {', '.join(f'{name} {_value(value)}' for name, value in same.items())}."]
        if same
        else []
    )
    notes.append(
        "Loss: of the last epoch on the forget set. Accuracies in % on validation: these models know the "
        "forget set best, and it is their task vectors that are negated."
    )
    if any(member.validation is None for member in members):
        notes.append(f"{ABSENT}: scored on other images, when its checkpoint was still there.")
    if not results.pool_kept:
        notes.append("Merged as they were finished; no checkpoint was kept.")
    return Grid(
        f"The pool of {len(members)} fine-tunings",
        (*headings, *(("Device",) if several else ())),
        rows,
        tuple(notes),
        "Member",
    )


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
