"""What a run is: the data model of a recipe. ``recipe_file`` reads one from YAML."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    model_serializer,
    model_validator,
)

from .data import DATA_SETS
from .keys import content_key
from .methods import METHODS, REFERENCE
from .models import MODELS, knows_text

if TYPE_CHECKING:
    from .methods.interface import Method


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{'true' if value else 'false'} is not a number")
    return value


#: A number that may have decimals; YAML's 1e-3 is text.
Number = Annotated[float, BeforeValidator(_no_flag)]
Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(gt=0, lt=1)]
#: Whole numbers are written as such: neither 1.0 nor true is one. What is beyond a bound is no recipe of this
#: field but a slip, which would end in a lack of memory, or never.
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Index = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Threads = Annotated[int, Field(strict=True, ge=1, le=1024)]
Side = Annotated[int, Field(strict=True, ge=1, le=4096)]
Width = Annotated[int, Field(strict=True, ge=1, le=1024)]
Images = Annotated[int, Field(strict=True, ge=1, le=2**20)]
Pixels = Annotated[int, Field(strict=True, ge=0, le=1024)]
Operations = Annotated[int, Field(strict=True, ge=0, le=100)]
Epoch = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Strength = Annotated[Number, Field(ge=0, le=100)]
Flag = Annotated[bool, Field(strict=True)]
Momentum = Annotated[Number, Field(ge=0, lt=1)]
Smoothing = Annotated[Number, Field(ge=0, lt=1)]
Magnitude = Annotated[Number, Field(ge=0, le=10)]
Area = Annotated[Number, Field(gt=0, le=1)]


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
    """A data set, and how it is split. Its name alone will do.

    folder: where it is; by default in its folder of the data folder. label: what the set is called in the
    run; by default its name, or that of the folder of an ``image-folder``. image_size: side in pixels of
    images that are read from files. validation: ``paper`` (a tenth of the published training images, at most
    5,000), ``salun`` (a tenth of every class of these), or a share of every class; the default is
    ``paper``, or 0.25 for a data set without published splits. test: share of such a data set that is the
    test split, 0.25 by default. split_seed: what the splits are drawn with: 0 by default for ``paper``, 2 for
    ``salun``, and what follows from the recipe's seed for shares.
    """

    name: Annotated[str, AfterValidator(DATA_SETS.check)]
    folder: Annotated[str, Field(min_length=1)] | None = None
    label: Annotated[str, Field(pattern=r"^[^\W_][\w .,+()/-]*$", max_length=100)] | None = None
    image_size: Side | None = None
    validation: Annotated[float | str, PlainValidator(_validation)] | None = None
    test: Share | None = None
    split_seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def called(self) -> str:
        """The label, given or not."""
        if self.label is not None:
            return self.label
        if self.name == "image-folder" and self.folder is not None:
            return Path(self.folder).expanduser().name
        return self.name

    @model_validator(mode="after")
    def _fits_together(self) -> Data:
        if isinstance(self.validation, float) and self.validation + (self.test or 0) >= 1:
            raise ValueError("validation and test leave nothing to train on; their sum must stay below 1")
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
    indices: Annotated[list[Index], Field(min_length=1)] | None = None
    index_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Forget:
        ways = (self.classes, self.fraction, self.indices, self.index_file)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give exactly one of classes, fraction, indices and index_file")
        return self


class Model(Section):
    """The architecture, and where its first weights come from.

    width: channels of the first layer, for architectures that have a choice. pretrained: what the weights are
    of: a name that the architecture knows (``imagenet``, ``default``, a tag of open_clip), or a checkpoint
    (.safetensors, or .pt and .pth without code); without it they are random. image_size: side in pixels that
    images are scaled to before the model sees them.
    """

    name: Annotated[str, AfterValidator(MODELS.check)]
    width: Width | None = None
    pretrained: Annotated[str, Field(min_length=1)] | None = None
    image_size: Side | None = None

    @property
    def brings_weights(self) -> bool:
        """Whether it has others than random ones without being trained; a folder of a model has its own."""
        return self.pretrained is not None or ":" in self.name


_MOST_STEPS, _MOST_EPOCHS = 10**9, 100_000


def _warm_up(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST_STEPS:
        raise ValueError(f"{value!r} is neither a number of steps up to {_MOST_STEPS:,} nor a share")
    if isinstance(value, float) and value >= 1:
        raise ValueError(f"{value:g} is no share below 1; steps are whole numbers")
    return value


def _epochs(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MOST_EPOCHS:
        raise ValueError(f"{value!r} is not a number above 0 and at most {_MOST_EPOCHS:,}")
    return value


#: Passes over the training images.
Epochs = Annotated[float | int, PlainValidator(_epochs)]
#: A whole number of steps, or a share of all.
WarmUp = Annotated[float | int, PlainValidator(_warm_up)]
Schedule = Literal["cosine", "steps", "constant"]


def _rising(milestones: list[int]) -> list[int]:
    if any(later <= earlier for earlier, later in itertools.pairwise(milestones)):
        raise ValueError("the epochs must rise")
    return milestones


class Training(Section):
    """Hyper-parameters of one training.

    epochs: passes over the images; a fraction ends within one. optimizer: momentum is SGD's alone.
    learning_rate: its peak. warm_up: the steps in which it rises to that evenly, as a number or as a share of
    all. schedule: afterwards it falls to zero along a cosine, or to ``decay`` of itself at each of the epochs
    ``milestones``, or stays. clip: gradients are scaled down to this L2 norm; ``null`` leaves them.

    Random changes of images, applied in this order: crop, ``crop`` pixels of black are added around and the
    size is cut out again; resized_crop, a part of the image of at least this share of its area, of an aspect
    ratio between 3/4 and 4/3, fills it; flip, left and right change places in half of the images;
    augmentation, strength of affine changes; randaugment_n operations of RandAugment of magnitude
    randaugment_m. seed: tells repetitions apart.

    accumulation: the batch_size images of a step pass through the model in so many parts, whose gradients are
    added up: less memory, and the same up to rounding for a model without statistics of batches.
    """

    epochs: Epochs
    learning_rate: Positive
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: Momentum = 0.9
    weight_decay: NotNegative = 0.0
    label_smoothing: Smoothing = 0.0
    crop: Pixels = 0
    resized_crop: Area = 1.0
    flip: Flag = False
    augmentation: Strength = 0.0
    randaugment_n: Operations = 0
    randaugment_m: Magnitude = 9.0
    seed: Seed = 0
    batch_size: Images = 64
    accumulation: Images = 1
    warm_up: WarmUp = 0.1
    schedule: Schedule = "cosine"
    milestones: Annotated[list[Epoch], AfterValidator(_rising)] = []
    decay: Share = 0.1
    clip: Positive | None = 1.0

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        _require_milestones(self.schedule, self.milestones)
        _require_images_for(self.accumulation, self.batch_size)
        return self


def _require_images_for(accumulation: int, batch_size: int) -> None:
    if accumulation > batch_size:
        raise ValueError(f"accumulation: a step of batch_size {batch_size} has no {accumulation} parts")


def _require_milestones(schedule: Schedule, milestones: list[int]) -> None:
    if (schedule == "steps") != bool(milestones):
        raise ValueError("milestones are the epochs of schedule: steps; give both or neither")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError("lists a value twice")
    return values


_ValueT = TypeVar("_ValueT")

#: One value, or a list of different ones.
Axis = Annotated[
    list[_ValueT],
    BeforeValidator(_as_list),
    Field(min_length=1, max_length=1000),
    AfterValidator(_distinct),
]


_MOST_MEMBERS = 1000


class Pool(Section):
    """The fine-tunings on the forget set: every combination of the values given, one or a list per key.

    Keys are those of :class:`Training`; batch_size and those after it have one value for all. freeze: what
    fine-tuning leaves alone: glob patterns of parameter names, and ``attention`` for every parameter of an
    attention layer, which NegMerge's released code leaves alone in CLIP. freeze_statistics: BatchNorm
    normalises by the running statistics of the base, which stay as they are; otherwise by those of each
    batch, and its running statistics move, which no merge takes up. linearised: what is fine-tuned, merged
    and evaluated is the base's first-order Taylor expansion in its parameters.
    """

    epochs: Axis[Epochs]
    learning_rate: Axis[Positive]
    optimizer: Axis[Literal["adamw", "sgd"]] = ["adamw"]
    momentum: Axis[Momentum] = [0.9]
    weight_decay: Axis[NotNegative] = [0.0]
    label_smoothing: Axis[Smoothing] = [0.0]
    crop: Axis[Pixels] = [0]
    resized_crop: Axis[Area] = [1.0]
    flip: Axis[Flag] = [False]
    augmentation: Axis[Strength] = [0.0]
    randaugment_n: Axis[Operations] = [0]
    randaugment_m: Axis[Magnitude] = [9.0]
    seed: Axis[Seed] = [0]
    batch_size: Images = 64
    accumulation: Images = 1
    warm_up: WarmUp = 0.1
    schedule: Schedule = "cosine"
    milestones: Annotated[list[Epoch], AfterValidator(_rising)] = []
    decay: Share = 0.1
    clip: Positive | None = 1.0
    freeze: Annotated[list[str], BeforeValidator(_as_list)] = []
    freeze_statistics: Flag = True
    linearised: Flag = False

    @model_validator(mode="after")
    def _fits_together(self) -> Pool:
        _require_milestones(self.schedule, self.milestones)
        _require_images_for(self.accumulation, self.batch_size)
        count = math.prod(map(len, self.axes.values()))
        if count > _MOST_MEMBERS:
            raise ValueError(
                f"its values have {count:,} combinations; at most {_MOST_MEMBERS:,} are fine-tuned"
            )
        return self

    @model_validator(mode="after")
    def _expanded_around_one_model(self) -> Pool:
        if self.linearised and not self.freeze_statistics:
            raise ValueError(
                "linearised expands the base with its own statistics; leave freeze_statistics out"
            )
        return self

    @property
    def axes(self) -> dict[str, list[Any]]:
        """The values of each hyper-parameter that may have several, by its name in :class:`Training`."""
        return {name: getattr(self, name) for name in Training.model_fields if name not in _SHARED}

    def members(self) -> list[Training]:
        """The hyper-parameters of every fine-tuning; the last axis changes fastest."""
        shared = {name: getattr(self, name) for name in _SHARED}
        combinations = itertools.product(*self.axes.values())
        return [Training(**dict(zip(self.axes, values, strict=True)), **shared) for values in combinations]


#: Hyper-parameters that all fine-tunings of a pool share.
_SHARED = ("batch_size", "accumulation", "warm_up", "schedule", "milestones", "decay", "clip")


class Search(Section):
    """How the scaling coefficient is searched on the validation split.

    objective: what the coefficient minimises. "forget" is forget accuracy, while retain accuracy holds; "gap"
    is the average gap to Retrain, without a bound. retain_ratio: with "forget", retain accuracy must stay at
    this share of the base's or above. points: evenly spaced coefficients over [0, 1], both ends included.
    refinements: how often the gaps beside the best one are divided further. limit: the largest coefficient to
    try.
    """

    objective: Literal["forget", "gap"] = "forget"
    retain_ratio: Annotated[Number, Field(gt=0, le=1)] = 0.95
    points: Annotated[int, Field(strict=True, ge=2, le=10_001)] = 21
    refinements: Annotated[int, Field(strict=True, ge=0, le=10)] = 1
    limit: Annotated[Number, Field(ge=1, le=1000)] = 8.0


class ChosenMethod(Section):
    """A method. Its name alone will do, or hyper-parameters of its own stand beside it.

    options: what its hyper-parameters are; a plain ``Section`` stands for its defaults. A recipe has them
    beside the name: ``{name: ties, density: 0.1}``.
    """

    name: str
    options: Section = Section()

    @model_validator(mode="before")
    @classmethod
    def _beside_the_name(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        given = dict(value) if isinstance(value, dict) else {"name": value}
        name = given.pop("name", None)
        if not isinstance(name, str):
            raise ValueError("a method is its name, or {name: ..., and values of its hyper-parameters}")
        if (plain := name.partition(":")[0]) != name and plain in METHODS.names:
            raise ValueError(f"hyper-parameters stand beside the name: {{name: {plain}, ...}}")
        METHODS.check(name)
        if not given:
            return {"name": name}
        kind = METHODS.get(name).options
        options = kind.model_validate(given)
        return {"name": name, "options": options if options != kind() else Section()}

    @model_serializer
    def _as_written(self) -> Any:
        """With all hyper-parameters: their defaults may be others one day."""
        options = self.all_options
        return {"name": self.name, **options} if options else self.name

    @property
    def all_options(self) -> dict[str, Any]:
        """Its hyper-parameters by name, those too that a recipe leaves to their defaults."""
        return {**METHODS.get(self.name).options().model_dump(mode="json"), **self._changed}

    @property
    def _changed(self) -> dict[str, Any]:
        return self.options.model_dump(mode="json", exclude_defaults=True)

    @property
    def called(self) -> str:
        """What tells it from the other methods of its run, and names its files."""
        changed = self._changed
        written = "-".join([self.name, *(f"{key}-{value}" for key, value in changed.items())])
        if re.fullmatch(r"[\w.+-]{1,100}", written):
            return written
        return f"{self.name}-{content_key(changed)[:8]}"  # what files cannot be named after

    @property
    def method(self) -> Method:
        """What it does, with these hyper-parameters."""
        found, changed = METHODS.get(self.name), self._changed
        if not changed or found.configured is None:
            return found
        words = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changed.items())
        return found.configured(self.called, f"{found.title} ({words})", self.options)


def _told_apart(methods: list[ChosenMethod]) -> list[ChosenMethod]:
    called = [one.called for one in methods]
    if twice := sorted({name for name in called if called.count(name) > 1}):
        raise ValueError(f"lists {', '.join(twice)} twice; a default that is spelt out changes nothing")
    return methods


class Recipe(Section):
    """One unlearning run.

    With ``forget`` a part of ``data`` is forgotten, and the rest of it retained. With ``retain`` all of
    ``data`` is forgotten, and these other data sets are retained: a model of images and text is asked about
    each with its own classes.

    methods: with "retrain" among them, all are compared with it. name: names its folder. seed: every random
    choice derives from it. threads: CPU threads of torch; results are reproducible for one number of threads.
    device: where torch computes; ``auto`` is the first GPU, or the CPU. precision: of the forward passes in
    training; ``auto`` is bfloat16 on a GPU that has it, or float16, and float32 on the CPU. training: how the
    base is trained; without it the base is ``model.pretrained``.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    seed: Seed = 0
    threads: Threads = 1
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+)$")] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    data: Data
    forget: Forget | None = None
    retain: Annotated[list[Data], BeforeValidator(_as_list), Field(min_length=1)] | None = None
    model: Model
    training: Training | None = None
    pool: Pool
    search: Search = Search()
    methods: Annotated[
        list[ChosenMethod],
        BeforeValidator(_as_list),
        Field(min_length=1, max_length=1000),
        AfterValidator(_told_apart),
    ] = [ChosenMethod(name=name) for name in ("single", "uniform", "negmerge")]

    @property
    def data_sets(self) -> list[Data]:
        """The data set that is forgotten, or part of it, and those that are retained as a whole."""
        return [self.data, *(self.retain or [])]

    @property
    def compares_with_reference(self) -> bool:
        """Whether the reference is among the methods, and so the measures that compare models with it."""
        return any(one.name == REFERENCE for one in self.methods)

    @model_validator(mode="after")
    def _something_to_forget_and_to_retain(self) -> Recipe:
        if (self.forget is None) == (self.retain is None):
            raise ValueError(
                "give either forget, a part of the data set, or retain, data sets beside the one to forget"
            )
        labels = [one.called for one in self.data_sets]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(
                f"data and retain name {', '.join(twice)} more than once; give other data of that name "
                "a label of their own"
            )
        if self.retain is not None and not knows_text(self.model.name):
            raise ValueError(
                f"retain needs a model of images and text (open_clip/… or clip/…), and {self.model.name} "
                "knows the classes of one data set only"
            )
        return self

    @model_validator(mode="after")
    def _a_base(self) -> Recipe:
        if self.training is None and not self.model.brings_weights:
            raise ValueError("give training, or model.pretrained: the base has to come from somewhere")
        if self.compares_with_reference:
            if knows_text(self.model.name):
                raise ValueError(
                    f"methods: {REFERENCE} trains a classifier from scratch; {self.model.name} is none"
                )
            if self.training is None:
                raise ValueError(f"methods: {REFERENCE} is trained as the base was, and training is missing")
        return self

    @model_validator(mode="after")
    def _something_to_be_close_to(self) -> Recipe:
        if self.search.objective == "gap" and not self.compares_with_reference:
            raise ValueError(
                f"search.objective: gap needs {REFERENCE} among the methods: it is the gap to it"
            )
        return self
