"""What an unlearning method is to the pipeline.

A method turns what a run has (a base, a pool, data) into candidates: families of models with one coefficient,
0 being the base. The pipeline searches the coefficient of every candidate on the validation split, takes the
best one, lets it write its checkpoint and evaluates that file. It does so for every method alike, and counts
what it costs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint file, and the content key of the stage that wrote it."""

    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a run offers to a method.

    build_model: makes the architecture; its weights are to be loaded.
    """

    base: Checkpoint
    pool: Sequence[Checkpoint]
    build_model: Callable[[], nn.Module]
    folder: RunFolder


@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint that a candidate wrote.

    kept: elements that the change of the weights may touch. elements: all elements of the model.
    """

    kept: int
    elements: int


class Candidate(ABC):
    """A family of unlearned models, one per coefficient.

    name: names its files. title: what it is, for people. key: content key of all that it is made from.
    """

    name: str
    title: str
    key: str

    @abstractmethod
    def opened(self) -> AbstractContextManager[Callable[[float], nn.Module]]:
        """Within the block: a function from coefficient to model. A model is valid until the next call."""

    @abstractmethod
    def write(self, coefficient: float, out: Path) -> Written:
        """Write the checkpoint for one coefficient to ``out``, which may exist."""


@dataclass(frozen=True, slots=True)
class Method:
    """An unlearning method.

    title: its name in tables. candidates: makes what is to be searched; the best one stands for the method.
    """

    title: str
    candidates: Callable[[Context], Sequence[Candidate]]
