"""What a run is: the data model of a recipe. ``recipe_file`` reads one from YAML."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PlainValidator,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from .data import DATA_SETS
from .methods import METHODS, REFERENCE
from .models import MODELS

Share = Annotated[float, Field(gt=0, lt=1)]
Smoothing = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of a recipe: unknown keys and non-finite numbers are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _validation(value: Any) -> Any:
    if value in _PROTOCOLS:
        return value
    if isinstance(value, float) and 0 < value < 1:
        return value
    raise ValueError(f"{value!r} is neither a share between 0 and 1 nor {' nor '.join(_PROTOCOLS)}")


_PROTOCOLS = ("paper", "salun")


class Data(Section):
    """The data set, and how it is split.

    folder: where it is; by default in its folder of the data folder. image_size: side in pixels of images
    that are read from files. validation: ``paper`` (a tenth of the published training images, at most
    5,000), ``salun`` (a tenth of every class of these), or a share of every class; the default is
    ``paper``, or 0.25 for a data set without published splits. test: share of such a data set that is the
    test split, 0.25 by default. split_seed: of ``paper`` (default 0) and ``salun`` (default 2); shares are
    drawn with the recipe's seed.
    """

    name: Annotated[str, AfterValidator(DATA_SETS.check)]
    folder: Annotated[str, Field(min_length=1)] | None = None
    image_size: PositiveInt | None = None
    validation: Annotated[float | str, PlainValidator(_validation)] | None = None
    test: Share | None = None
    split_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Data:
        if isinstance(self.validation, float):
            if self.validation + (self.test or 0) >= 1:
                raise ValueError("validation and test leave nothing to train on; their sum must stay below 1")
            if self.split_seed is not None:
                raise ValueError("split_seed is for the validation splits paper and salun")
        return self


def _class(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is neither the name nor the number of a class")
    return value


class Forget(Section):
    """The forget set: whole classes, or a random fraction of the training split, or training images by index.

    classes: names or numbers of classes. fraction: share of the training split, drawn with the recipe's
    seed, or as SalUn does for its splits. indices: positions in the data set, whose training images come
    first. index_file: a file of such positions, as text or as an array of numpy (.npy).
    """

    classes: Annotated[list[Annotated[int | str, PlainValidator(_class)]], Field(min_length=1)] | None = None
    fraction: Share | None = None
    indices: Annotated[list[NonNegativeInt], Field(min_length=1)] | None = None
    index_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Forget:
        ways = (self.classes, self.fraction, self.indices, self.index_file)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give exactly one of classes, fraction, indices and index_file")
        return self


class Model(Section):
    """The architecture. ``width`` is its number of channels in the first layer."""

    name: Annotated[str, AfterValidator(MODELS.check)]
    width: PositiveInt = 32


class Training(Section):
    """Hyper-parameters of one training with AdamW.

    learning_rate: its peak; it rises over the first tenth of the steps and falls to zero along a cosine.
    augmentation: strength of random affine changes, 0 for none. seed: tells repetitions apart.
    """

    epochs: PositiveInt
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat = 0.0
    label_smoothing: Smoothing = 0.0
    augmentation: NonNegativeFloat = 0.0
    seed: NonNegativeInt = 0
    batch_size: PositiveInt = 64


def _distinct(values: list[Any]) -> list[Any]:
    if any(value in values[:place] for place, value in enumerate(values)):
        raise ValueError("lists a value twice")
    return values


_ValueT = TypeVar("_ValueT")

#: One value, or a list of different ones.
Axis = Annotated[
    list[_ValueT],
    BeforeValidator(lambda value: value if isinstance(value, list) else [value]),
    AfterValidator(_distinct),
    Field(min_length=1),
]


class Pool(Section):
    """The fine-tunings on the forget set: every combination of the values given, one or a list per key.

    freeze: glob patterns of parameter names that fine-tuning leaves alone.
    """

    epochs: Axis[PositiveInt]
    learning_rate: Axis[PositiveFloat]
    weight_decay: Axis[NonNegativeFloat] = [0.0]
    label_smoothing: Axis[Smoothing] = [0.0]
    augmentation: Axis[NonNegativeFloat] = [0.0]
    seed: Axis[NonNegativeInt] = [0]
    batch_size: PositiveInt = 64
    freeze: list[str] = []

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values of each hyper-parameter, by its name in :class:`Training`."""
        return {
            name: values for name in Training.model_fields if isinstance(values := getattr(self, name), list)
        }

    def members(self) -> list[Training]:
        """The hyper-parameters of every fine-tuning; the last axis changes fastest."""
        combinations = itertools.product(*self.axes.values())
        return [
            Training(**dict(zip(self.axes, values, strict=True)), batch_size=self.batch_size)
            for values in combinations
        ]


class Search(Section):
    """How the scaling coefficient is searched on the validation split.

    objective: what the coefficient minimises. "forget" is forget accuracy, while retain accuracy holds; "gap"
    is the average gap to Retrain, without a bound. retain_ratio: with "forget", retain accuracy must stay at
    this share of the base's or above. points: evenly spaced coefficients over [0, 1], both ends included.
    refinements: how often the gaps beside the best one are divided further. limit: the largest coefficient to
    try.
    """

    objective: Literal["forget", "gap"] = "forget"
    retain_ratio: Annotated[float, Field(gt=0, le=1)] = 0.95
    points: Annotated[int, Field(ge=2)] = 21
    refinements: NonNegativeInt = 1
    limit: Annotated[float, Field(ge=1)] = 8.0


class Recipe(Section):
    """One unlearning run.

    methods: with "retrain" among them, all are compared with it. name: names its folder. seed: every random
    choice derives from it. threads: CPU threads of torch; results are reproducible for one number of threads.
    training: how the base is trained.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: NonNegativeInt = 0
    threads: PositiveInt = 1
    data: Data
    forget: Forget
    model: Model
    training: Training
    pool: Pool
    search: Search = Search()
    methods: Axis[Annotated[str, AfterValidator(METHODS.check)]] = ["single", "uniform", "negmerge"]

    @model_validator(mode="after")
    def _something_to_be_close_to(self) -> Recipe:
        if self.search.objective == "gap" and REFERENCE not in self.methods:
            raise ValueError(
                f"search.objective: gap needs {REFERENCE} among the methods: it is the gap to it"
            )
        return self
