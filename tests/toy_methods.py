"""Methods that merge nothing: a training with a grid of hyper-parameters, and an input perturbation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from negmerge.checkpoint import load_weights, save_weights
from negmerge.console import Reporter
from negmerge.data.examples import Examples
from negmerge.keys import content_key
from negmerge.methods.interface import Candidate, Context, Method, OwnTraining, Written
from negmerge.recipe import Axis, Number, Section, Training
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import nn

RATES = (0.0, 0.05, 100.0)


def _all_of(examples: Sequence[Examples]) -> tuple[torch.Tensor, torch.Tensor]:
    (only,) = examples
    (batch,) = only.batches(len(only))
    return batch


class Ascended(Candidate):
    """One step of gradient ascent on the forget set."""

    scaled = False

    def __init__(self, context: Context, rate: float, spec: Training) -> None:
        self.name = f"ascent-{rate:g}"
        self.title = f"rate {rate:g}"
        self.key = content_key(self.name, context.base_sha256, context.training_key)
        self._context = context
        self._rate = rate
        self._spec = spec
        self._trained = context.folder.trained(self.name)

    def trainings(self) -> Sequence[OwnTraining]:
        return [OwnTraining(self._spec, ("forget",), self._trained, self.key)]

    def prepare(self, reporter: Reporter) -> float:
        if self._trained.finished(self.key) is None:
            model = self.load(self._context.base.path)
            images, labels = _all_of(self._context.training_examples("forget"))
            loss = nn.functional.cross_entropy(model(images.float() / 255), labels)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter += self._rate * gradient
            self._trained.begin()
            save_weights(model, self._trained.file)
            self._trained.finish(self.key, {})
        return 7.0

    @contextmanager
    def opened(self) -> Iterator[Callable[[float], nn.Module]]:
        model = self.load(self._trained.file)
        yield lambda coefficient: model

    def write(self, coefficient: float, out: Path) -> Written:
        model = self.load(self._trained.file)
        save_weights(model, out)
        return Written(kept=None, elements=sum(one.numel() for one in model.state_dict().values()))

    def load(self, path: Path) -> nn.Module:
        return load_weights(self._context.build_model(), path)


class Shifted(nn.Module):
    """A frozen model that sees its images with a perturbation."""

    def __init__(self, model: nn.Module, perturbation: torch.Tensor) -> None:
        super().__init__()
        self.model = model
        self.perturbation = perturbation

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images + self.perturbation)
        return logits


class Perturbed(Candidate):
    """Away from the mean image of the forget set; nothing but the perturbation is written."""

    scaled = True
    name = title = "perturbed"

    def __init__(self, context: Context) -> None:
        self.key = content_key("perturbed", context.base_sha256, context.training_key)
        self._context = context

    def prepare(self, reporter: Reporter) -> float:
        images, _ = _all_of(self._context.training_examples("forget"))
        self._perturbation = -images.float().mean(dim=0) / 255
        return 0.0

    @contextmanager
    def opened(self) -> Iterator[Callable[[float], nn.Module]]:
        base = self._base()
        yield lambda coefficient: Shifted(base, coefficient * self._perturbation)

    def write(self, coefficient: float, out: Path) -> Written:
        save_file({"perturbation": coefficient * self._perturbation}, out)
        return Written(kept=None, elements=self._perturbation.numel())

    def load(self, path: Path) -> nn.Module:
        return Shifted(self._base(), load_file(path)["perturbation"]).eval()

    def _base(self) -> nn.Module:
        return load_weights(self._context.build_model(), self._context.base.path)


class Rates(Section):
    """rates: of the one step, to choose among. training: what a plan says of it."""

    rates: Axis[Number] = Field(default_factory=lambda: [*RATES])
    training: Training = Training(epochs=1, learning_rate=1.0, batch_size=1024)


def _ascents(name: str, title: str, options: Rates) -> Method:
    def candidates(context: Context) -> Sequence[Candidate]:
        return [Ascended(context, rate, options.training) for rate in options.rates]

    return Method(title, candidates, merges=())


def _perturbed(context: Context) -> Sequence[Candidate]:
    return [Perturbed(context)]


ASCENT = replace(_ascents("ascent", "Ascent", Rates()), options=Rates, configured=_ascents)
PERTURBATION = Method("Perturbation", _perturbed, merges=())
