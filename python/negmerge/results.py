"""What a run found, as plain data."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import negmerge_ext

from .evaluate import Scores
from .search import Point


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the comparison.

    method: "base" or a method's name. candidate: which of the method's candidates was best. coefficient: the
    one chosen, 0 for the base; at_limit: a better one may lie beyond the largest allowed. kept: elements in
    the merged vector, of ``elements`` of the model. evaluations: passes over the validation split that the
    choice took. seconds: wall time of merging, search and final evaluation (base: of training); the pool's
    training is not in it. curve: every coefficient tried on the chosen candidate. candidates: the point
    chosen on each candidate.
    """

    method: str
    title: str
    validation: Scores
    test: Scores
    seconds: float
    candidate: str | None = None
    coefficient: float = 0.0
    at_limit: bool = False
    kept: int | None = None
    elements: int | None = None
    evaluations: int = 1
    curve: tuple[Point, ...] = ()
    candidates: tuple[Point, ...] = ()

    @property
    def kept_fraction(self) -> float | None:
        """Elements kept / all elements of the model."""
        return self.kept / self.elements if self.kept is not None and self.elements else None

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Row:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(
            **{
                **plain,
                "validation": Scores(**plain["validation"]),
                "test": Scores(**plain["test"]),
                "curve": tuple(Point(**point) for point in plain["curve"]),
                "candidates": tuple(Point(**point) for point in plain["candidates"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A fine-tuned checkpoint: its file, hyper-parameters, validation accuracies and seconds of training."""

    file: str
    hyperparameters: dict[str, Any]
    validation: Scores
    loss: float
    seconds: float

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Member:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**plain, "validation": Scores(**plain["validation"])})


@dataclass(frozen=True, slots=True)
class Results:
    """All of a run.

    forgotten: the forget set in words. images: number of images per split, forget and retain. data_sha256: of
    pixels and labels. retain_floor: the validation retain accuracy that a choice must keep. rows: the base
    first.
    """

    recipe: dict[str, Any]
    forgotten: str
    images: dict[str, dict[str, int]]
    data_sha256: str
    retain_floor: float
    rows: tuple[Row, ...]
    pool: tuple[Member, ...]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain = asdict(self)
        for row, written in zip(self.rows, plain["rows"], strict=True):
            written["kept_fraction_of_model_elements"] = row.kept_fraction
        return plain


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("torch", "numpy", "scikit-learn", "safetensors")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "negmerge_ext": negmerge_ext.__version__,
        **{package: version(package) for package in packages},
    }
