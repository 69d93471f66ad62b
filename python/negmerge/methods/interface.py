"""What an unlearning method is to the pipeline.

A method turns what a run has (a base, a pool, training images) into candidates. A candidate is prepared,
which may train something; then it is a family of models with one coefficient, 0 being the base, or a single
model. The pipeline searches the coefficient of every candidate on the validation split, takes the best
candidate, lets it write its checkpoint and evaluates that file. It does so for every method alike, and counts
what it costs. No method sees an image of the validation or the test split.

How the kinds of methods fit:

* Weight merging (:mod:`.merged`): one candidate per merged vector; its models are the base minus coefficient
  × vector. The training that it takes is the pool's.
* Training (:mod:`.retrain`; gradient ascent and saliency-masked relabelling are to come): one candidate per
  choice of hyper-parameters, unscaled; it trains in ``prepare`` on :attr:`Context.training_examples`, from
  the base or from scratch, and keeps its weights as :meth:`~negmerge.run_folder.RunFolder.trained`. Selecting
  hyper-parameters is then selecting the best candidate. Or scaled, with the base plus coefficient × (trained
  − base) as its models.
* Input perturbation: a model is whatever maps pixels to logits. Such a candidate learns its perturbation in
  ``prepare``, offers modules that add coefficient × perturbation to the pixels before the base sees them,
  writes the perturbation, and has its own ``load`` that puts the base and the written file together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ..compute import Compute
from ..console import Reporter
from ..data.examples import Examples
from ..file_checksum import sha256_of
from ..recipe import Section, Training
from ..run_folder import Artefact, RunFolder


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint file, the content key of the stage that wrote it, and the seconds of its training."""

    path: Path
    key: str
    seconds: float

    @cached_property
    def sha256(self) -> str:
        """The checksum of the file, which is read once."""
        return sha256_of([self.path])


@dataclass(frozen=True, slots=True)
class OnlinePool:
    """A pool whose checkpoints were merged as they were finished, and dropped.

    patches: merged vectors of the whole pool, by the name of the method of ``negmerge_ext``.
    """

    patches: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Context:
    """What a run offers to a method.

    pool: its files are not there if ``online`` has what was merged of them. build_model: makes the
    architecture with its initial weights, the same every time. build_tuned: makes what takes the weights of
    members of the pool and of their merges, which is the base's Taylor expansion in a recipe that linearises.
    training: how the base was trained, if it was. training_examples: the images of the training split to be
    forgotten, or those to be retained, for each data set, with what makes logits of a model's answers.
    training_key: content key of all that these follow from, and the base's training too. compute: where to
    train. seed: the recipe's.
    """

    base: Checkpoint
    pool: Sequence[Checkpoint]
    build_model: Callable[[], nn.Module]
    build_tuned: Callable[[], nn.Module]
    training: Training | None
    training_examples: Callable[[Literal["forget", "retain"]], Sequence[Examples]]
    training_key: str
    compute: Compute
    seed: int
    folder: RunFolder
    online: OnlinePool | None = None

    @property
    def base_sha256(self) -> str:
        """Of the base's file, which has other bits under its key when it is trained again on a GPU: a part of
        the keys of whatever begins from it. Empty where there is no base yet.
        """
        return self.base.sha256 if self.base.path.exists() else ""


@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint that a candidate wrote.

    kept: elements that merging may have changed, ``None`` if nothing was merged. elements: all elements of
    the model.
    """

    kept: int | None
    elements: int


@dataclass(frozen=True, slots=True)
class OwnTraining:
    """A training that a candidate does by itself.

    parts: whose training images it sees, the same for all candidates of a method. artefact, key: where it is
    recorded when it is finished, and under which content key.
    """

    spec: Training
    parts: tuple[Literal["forget", "retain"], ...]
    artefact: Artefact
    key: str


class Candidate(ABC):
    """Unlearned models: a family with one model per coefficient, or, unscaled, a single one.

    name: names its files; of no other candidate in a run, unless that is the same, with the same key, as that
    of a method that shares it: what depends on a method's hyper-parameters has their name. title: what it is,
    for people. key: content key of all that it is made from.
    scaled: whether there is a coefficient to search; otherwise the only one is 1.
    """

    name: str
    title: str
    key: str
    scaled: bool

    def trainings(self) -> Sequence[OwnTraining]:
        """What :meth:`prepare` trains, beside what the run has trained anyway."""
        return ()

    @abstractmethod
    def prepare(self, reporter: Reporter) -> float:
        """Train what is not there yet; return the seconds that all training it needs, the base's apart, took.

        What was trained earlier counts with the seconds that it took then.
        """

    @abstractmethod
    def opened(self) -> AbstractContextManager[Callable[[float], nn.Module]]:
        """Within the block: a function from coefficient to model. A model is valid until the next call."""

    @abstractmethod
    def write(self, coefficient: float, out: Path) -> Written:
        """Write the checkpoint for one coefficient to ``out``, which may exist."""

    @abstractmethod
    def load(self, path: Path) -> nn.Module:
        """The model that :meth:`write` wrote to ``path``, in eval mode."""


@dataclass(frozen=True, slots=True)
class Searched:
    """A candidate whose coefficient was searched. preference: of the point chosen, the smaller the better."""

    candidate: Candidate
    preference: tuple[float, ...]


def _no_more(context: Context, searched: Sequence[Searched]) -> Candidate | None:
    return None


@dataclass(frozen=True, slots=True)
class Method:
    """An unlearning method.

    title: its name in tables. candidates: makes what is to be searched; the best one stands for the method.
    grow: given all that was searched so far, in order, makes one more candidate, out of what was trained for
    them, or none. It is asked until it gives none, and must give the same for the same again. What it makes
    may depend on what was found, but not how many candidates: a plan asks with preferences that are all
    alike. A grown candidate's ``load`` reads what any other candidate of the method wrote.
    merges: the methods of ``negmerge_ext`` by which it merges the whole pool, if it takes nothing else from
    that; ``None`` if it reads checkpoints of the pool, which a run that keeps none cannot offer. keeps_zeros:
    whether :attr:`Written.kept` counts elements that no model of the pool changed, as means do.
    options: hyper-parameters of its own that a recipe may give, all with defaults, by which the method is as
    it stands. configured: the method with others, given what its files are called, its title and them.
    """

    title: str
    candidates: Callable[[Context], Sequence[Candidate]]
    merges: tuple[str, ...] | None
    grow: Callable[[Context, Sequence[Searched]], Candidate | None] = _no_more
    keeps_zeros: bool = False
    options: type[Section] = Section
    configured: Callable[[str, str, Any], Method] | None = None

    def __post_init__(self) -> None:
        if self.options.model_fields and self.configured is None:
            raise ValueError(f"{self.title} has hyper-parameters, and nothing that takes them")
