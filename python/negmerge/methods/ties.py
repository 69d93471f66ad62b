"""TIES: task vectors trimmed to their largest entries, those with the sign of their sum averaged, negated.

Source: Yadav et al., TIES-Merging: Resolving Interference When Merging Models, NeurIPS 2023.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from ..recipe import Number, Section
from .interface import Method
from .merged import of_whole_pool


class Options(Section):
    """density: share of each task vector that is looked at, by magnitude. per: what it is a share of; the
    whole model, as in the paper's own code, or each tensor.
    """

    density: Annotated[Number, Field(gt=0, le=1)] = 0.2
    per: Literal["model", "tensor"] = "model"


def _configured(name: str, title: str, options: Options) -> Method:
    return of_whole_pool(name, title, f"ties:density={options.density!r},per={options.per}")


METHOD = replace(_configured("ties", "TIES", Options()), options=Options, configured=_configured)
