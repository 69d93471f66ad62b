"""Zero-shot accuracies as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..recipe import Model
from ..zero_shot import ZeroShot


def zero_shot_table(spec: Model, found: Sequence[ZeroShot]) -> Table:
    """A row for each data set; published accuracies are of OpenAI's ViT-B/32, whatever the model is.

    Those that are of other prompts or images have a mark.
    """
    weights = f", {spec.pretrained}" if spec.pretrained else ""
    table = Table(title=f"{spec.name}{weights}: zero-shot accuracy in %", title_justify="left")
    table.add_column("data set")
    for split in ("test", "validation"):
        table.add_column(f"{split} images", justify="right")
        table.add_column(split, justify="right")
        table.add_column("published", justify="right")
    for one in found:
        table.add_row(
            one.label,
            f"{one.images['test']:,}",
            f"{100 * one.test:.2f}",
            _percent(one.published_test, one.published_differs),
            f"{one.images['validation']:,}",
            f"{100 * one.validation:.2f}",
            _percent(one.published_validation, one.published_differs),
        )
    if others := [f"{one.label} ({one.published_differs})" for one in found if one.published_differs]:
        table.caption = f"*: what was published is not of the same: {', '.join(others)}."
        table.caption_justify = "left"
    return table


def _percent(share: float | None, differs: str | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}{'*' if differs else ''}"
