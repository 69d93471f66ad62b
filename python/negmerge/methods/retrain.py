"""Retrain: trained from scratch without the forget set. It is the model that unlearning is to come close to.

It has the base's architecture, initial weights and hyper-parameters. The order of its training images is its
own. Pixels are normalised by the statistics of the whole training split, as in the base.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

from ..checkpoint import load_weights
from ..console import Reporter
from ..errors import RecipeError
from ..from_scratch import trained_from_scratch
from ..keys import content_key, derived_seed
from ..run_folder import appearing_complete
from .interface import Candidate, Context, Method, OwnTraining, Written

TITLE = "Retrain"


class _Retrained(Candidate):
    """The one model that there is."""

    scaled = False

    def __init__(self, context: Context) -> None:
        self.name = "retrain"
        self.title = TITLE
        self.key = content_key("retrain", context.training_key)
        self._context = context
        self._trained = context.folder.trained(self.name)

    def trainings(self) -> Sequence[OwnTraining]:
        spec = self._context.training
        return () if spec is None else [OwnTraining(spec, ("retain",), self._trained, self.key)]

    def prepare(self, reporter: Reporter) -> float:
        context = self._context
        if context.training is None:
            raise RecipeError(f"{self.title} is trained as the base was, and the recipe has no training")
        return trained_from_scratch(
            self._trained,
            self.key,
            self.title,
            context.build_model(),
            context.training_examples("retain"),
            context.training,
            seed=derived_seed("retrain", context.seed),
            compute=context.compute,
            reporter=reporter,
        )

    @contextmanager
    def opened(self) -> Iterator[Callable[[float], nn.Module]]:
        model = self.load(self._trained.file)
        yield lambda coefficient: model

    def write(self, coefficient: float, out: Path) -> Written:
        with appearing_complete(out) as unfinished:
            shutil.copyfile(self._trained.file, unfinished)
        elements = sum(tensor.numel() for tensor in self.load(out).state_dict().values())
        return Written(kept=None, elements=elements)

    def load(self, path: Path) -> nn.Module:
        return load_weights(self._context.build_model(), path)


def candidates(context: Context) -> Sequence[Candidate]:
    """One model, without a coefficient."""
    return [_Retrained(context)]


METHOD = Method(TITLE, candidates, merges=())
