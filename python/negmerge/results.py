"""What a run found, as plain data."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import distributions, version
from typing import Any

import negmerge_ext

from .agreement import Agreement
from .evaluate import Scores
from .methods import REFERENCE
from .methods.interface import Method
from .metrics.average_gap import average_gap
from .metrics.matched_retain import Curve, Matched, matched
from .metrics.measures import Measures
from .origin import Origin
from .recipe import ChosenMethod
from .search import Point


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the comparison.

    method: "base" or a method's name. validation, test: accuracies. validation_measures, test_measures: what
    is compared with Retrain, if the run has it. training_seconds: wall time of all training that the method
    needs (base: its own; others: without the base's). seconds: of merging, search and final evaluation.
    candidate: which of the method's candidates was best. coefficient: the one chosen, 0 for the base,
    ``None`` for a method without one; at_limit: a better one may lie beyond the largest allowed. kept:
    elements in the merged vector, of ``elements`` of the model. evaluations: passes over the validation split
    that the choice took. peak_memory: the most main memory in bytes that the process held during search and
    final evaluation, ``None`` where the system does not tell. peak_device_memory: the most that its tensors
    took on a GPU meanwhile, ``None`` without one. curve: every coefficient tried on the chosen candidate.
    candidates: the point chosen on each candidate.
    """

    method: str
    title: str
    validation: Scores
    test: Scores
    validation_measures: Measures | None
    test_measures: Measures | None
    training_seconds: float
    seconds: float
    coefficient: float | None
    candidate: str | None = None
    at_limit: bool = False
    kept: int | None = None
    elements: int | None = None
    evaluations: int = 1
    peak_memory: int | None = None
    peak_device_memory: int | None = None
    curve: tuple[Point, ...] = ()
    candidates: tuple[Point, ...] = ()

    @property
    def kept_fraction(self) -> float | None:
        """Elements kept / all elements of the model."""
        return self.kept / self.elements if self.kept is not None and self.elements else None

    @property
    def curves(self) -> list[Curve]:
        """Forget and retain accuracies on validation, along the coefficient or of single models."""
        if self.coefficient is None:
            return [[(point.forget, point.retain)] for point in self.candidates]
        return [[(point.forget, point.retain) for point in self.curve]]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Row:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(
            **{
                **plain,
                "validation": Scores(**plain["validation"]),
                "test": Scores(**plain["test"]),
                "validation_measures": _measures(plain["validation_measures"]),
                "test_measures": _measures(plain["test_measures"]),
                "curve": tuple(Point(**point) for point in plain["curve"]),
                "candidates": tuple(Point(**point) for point in plain["candidates"]),
            }
        )


def _measures(plain: dict[str, Any] | None) -> Measures | None:
    return None if plain is None else Measures.from_dict(plain)


@dataclass(frozen=True, slots=True)
class Member:
    """A fine-tuning.

    file: its checkpoint, which may not have been kept. validation: accuracies; ``None`` of one that was not
    kept and was scored on other data. loss: of the last epoch. seconds: of training, on ``device``. scored:
    content key of the images that ``validation`` is of. sha256: of the checkpoint. Results of earlier
    versions have neither.
    """

    file: str
    hyperparameters: dict[str, Any]
    validation: Scores | None
    loss: float
    seconds: float
    device: str = "cpu"
    scored: str = ""
    sha256: str = ""

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Member:
        """The inverse of :func:`dataclasses.asdict`."""
        scores = plain["validation"]
        return cls(**{**plain, "validation": None if scores is None else Scores(**scores)})


@dataclass(frozen=True, slots=True)
class Results:
    """All of a run.

    forgotten: the forget set in words. images: number of images per split, forget and retain. data_sha256: by
    data set, of pixels and labels, or of names, sizes and labels of image files. retain_floor: the validation
    retain accuracy that a choice must keep, if the recipe sets one. rows: the base first. agreement: of the
    pool; ``None`` if that was not kept and no method merged it by sign consensus. pool_kept: whether the
    checkpoints of the pool stayed in the folder. base_sha256: of the base's checkpoint. split_keys: of the
    images of each data set and its splits. origin: of the stages that the numbers come from. Results of
    earlier versions have none of these three.
    """

    recipe: dict[str, Any]
    forgotten: str
    images: dict[str, dict[str, int]]
    data_sha256: dict[str, str]
    retain_floor: float | None
    rows: tuple[Row, ...]
    pool: tuple[Member, ...]
    versions: dict[str, str]
    agreement: Agreement | None = None
    pool_kept: bool = True
    base_sha256: str | None = None
    split_keys: dict[str, str] = field(default_factory=dict)
    origin: Origin | None = None

    @property
    def forgets_training_images(self) -> bool:
        """Whether single training images are forgotten, and forgetting is measured on these in every split;
        otherwise it is measured on images that no model was trained on.
        """
        forget = self.recipe["forget"]
        return forget is not None and forget["classes"] is None

    @property
    def forget_split(self) -> str:
        """Which images the forget accuracies of ``test`` are of."""
        return "training" if self.forgets_training_images else "test"

    @property
    def methods(self) -> dict[str, Method]:
        """The recipe's methods, by the names that rows have."""
        return {name: chosen.method for name, chosen in self._chosen.items()}

    def options_of(self, row: Row) -> dict[str, Any]:
        """The hyper-parameters of a row's method, by name."""
        chosen = self._chosen.get(row.method)
        return {} if chosen is None else chosen.all_options

    @property
    def _chosen(self) -> dict[str, ChosenMethod]:
        return {one.called: one for one in map(ChosenMethod.model_validate, self.recipe["methods"])}

    def average_gap(self, row: Row) -> float | None:
        """Of a row to Retrain on the test split, in [0, 1]; ``None`` without Retrain."""
        retrained = next((one.test_measures for one in self.rows if one.method == REFERENCE), None)
        if row.test_measures is None or retrained is None:
            return None
        return average_gap(row.test_measures, retrained)

    def matched(self, row: Row) -> Matched:
        """Forget accuracy of a method where it retains as much as others, on the validation split."""
        return matched(row.curves, self.rows[0].validation.retain)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, and what follows from it."""
        plain = asdict(self)
        for row, written in zip(self.rows, plain["rows"], strict=True):
            written["derived"] = {
                "kept_fraction_of_model_elements": row.kept_fraction,
                "average_gap_on_test": self.average_gap(row),
                "matched_retain_on_validation": asdict(self.matched(row)) if row.curve else None,
            }
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Results:
        """The inverse of :meth:`to_dict`."""
        rows = [{name: value for name, value in row.items() if name != "derived"} for row in plain["rows"]]
        return cls(
            **{
                **plain,
                "rows": tuple(Row.from_dict(row) for row in rows),
                "pool": tuple(Member.from_dict(member) for member in plain["pool"]),
                "agreement": None if plain["agreement"] is None else Agreement.from_dict(plain["agreement"]),
                "origin": None if plain.get("origin") is None else Origin.from_dict(plain["origin"]),
            }
        )


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = (
        "torch",
        "numpy",
        "scikit-learn",
        "safetensors",
        *_present("torchvision", "timm", "open_clip_torch"),
    )
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "negmerge_ext": negmerge_ext.__version__,
        **{package: version(package) for package in packages},
    }


def _present(*packages: str) -> list[str]:
    """Those that are installed."""
    return [package for package in packages if any(True for _ in distributions(name=package))]
