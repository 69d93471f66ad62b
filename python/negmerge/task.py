"""What a run is about: the images, what is to be forgotten of them, the architecture, the evaluation."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from .checkpoint import load_weights
from .compute import Compute
from .data.divided import DataSet
from .data.examples import Examples, Part
from .data.image_set import ImageSet
from .data.index_file import read_index_file
from .data.selection import require_other_data, select
from .errors import RecipeError
from .evaluate import Evaluation, Split
from .freezing import frozen_parameters
from .keys import content_key, derived_seed
from .models import MODELS, knows_text
from .models.linearised import Linearised
from .models.shape import Shape
from .models.weights import pretrained_key
from .recipe import Recipe
from .seeding import seeded


@dataclass(frozen=True, eq=False)
class Task:
    """The setting of a run, made from its recipe.

    recipe: with the indices of its index file in place of that. sets: the data set that is forgotten, or part
    of it; then those that are retained as a whole. parts: what is forgotten and retained of every split.
    forgotten: the forget set in words.
    """

    recipe: Recipe
    compute: Compute
    sets: tuple[DataSet, ...]
    parts: Mapping[Split, Part]
    forgotten: str

    @classmethod
    def prepare(cls, recipe: Recipe) -> Task:
        """Load the data, divide it and build the model once, to see that all of them go together.

        Raises :class:`~negmerge.errors.DataError` and :class:`~negmerge.errors.RecipeError`.
        """
        compute = Compute.of(recipe)
        seed = derived_seed("split", recipe.seed)
        sets = tuple(DataSet.load(spec, seed) for spec in recipe.data_sets)
        if recipe.forget is None:
            require_other_data(sets[0], sets[1:])
            parts, forgotten = _whole_sets(sets), f"all of {sets[0].label}"
        else:
            recipe = recipe.model_copy(update={"forget": read_index_file(recipe.forget)})
            parts, forgotten = _within(sets[0], recipe)
        task = cls(recipe=recipe, compute=compute, sets=sets, parts=parts, forgotten=forgotten)
        # Options that the architecture lacks are found before anything is written or trained.
        model = task.build_model()
        if recipe.pool.linearised:
            _require_linearisable(model, recipe.model.name, sets[0].images)
        frozen_parameters(model, recipe.pool.freeze)
        return task

    def counts(self, *splits: Split) -> dict[str, dict[str, int]]:
        """Numbers of images to be forgotten and retained, by split."""
        return {
            split: {
                "forget": len(self.parts[split].forget),
                "retain": sum(map(len, self.parts[split].retain)),
            }
            for split in splits
        }

    def on(self, device: str) -> Task:
        """The same on another device."""
        compute = Compute.of(self.recipe, device)
        return self if compute == self.compute else replace(self, compute=compute)

    @property
    def heads(self) -> dict[str, nn.Module]:
        """By label of data set."""
        train = self.parts["train"]
        return {one.label: one.head for one in (train.forget, *train.retain)}

    def with_heads(self, heads: Mapping[str, nn.Module]) -> Task:
        """The same with a head for each data set, by label."""

        def given(examples: Examples) -> Examples:
            return replace(examples, head=heads.get(examples.label, examples.head))

        parts: dict[Split, Part] = {
            split: Part(given(part.forget), tuple(map(given, part.retain)))
            for split, part in self.parts.items()
        }
        return replace(self, parts=parts)

    @property
    def images(self) -> ImageSet:
        """Of the data set that is forgotten, or part of it."""
        return self.sets[0].images

    @property
    def data_sha256(self) -> dict[str, str]:
        """Checksums of the data sets, by label."""
        return {one.label: one.sha256 for one in self.sets}

    @cached_property
    def evaluation(self) -> Evaluation:
        frozen = frozen_parameters(self._initial, self.recipe.pool.freeze)
        return Evaluation(self.parts, self.compute, frozen)

    def training_examples(self, part: Literal["forget", "retain"]) -> tuple[Examples, ...]:
        """Of the training split: what is to be forgotten, or what of each data set is to be retained."""
        train = self.parts["train"]
        return (train.forget,) if part == "forget" else train.retain

    def training_split(self, data_set: DataSet) -> Examples:
        """All of the training split of a data set."""
        return Examples(data_set.label, data_set.images, data_set.splits.train)

    @property
    def base_key(self) -> str:
        """Content key of a classifier that is the base: of everything that training it depends on."""
        recipe = self.recipe
        return content_key(
            "base", self.sets[0].key, self.model_key, recipe.training, recipe.seed, self.numerics_key
        )

    @cached_property
    def model_key(self) -> str:
        """Content key of the architecture and of the weights that it begins with."""
        return content_key(self.recipe.model, pretrained_key(self.recipe.model))

    @property
    def numerics_key(self) -> str:
        """Content key of what rounding depends on, as far as the recipe has a say."""
        return content_key(self.recipe.threads, self.recipe.device, self.recipe.precision)

    @cached_property
    def forget_key(self) -> str:
        """Content key of the forget set, of the very images where the recipe's seed draws them."""
        return content_key(self.recipe.forget, self.sets[0].key, self.parts["train"].forget.rows_sha256)

    @property
    def division_key(self) -> str:
        """Content key of what is forgotten and what is retained; scores have the labels of retained sets."""
        return content_key(self.forget_key, [[one.label, one.key] for one in self.sets[1:]])

    def build_model(self) -> nn.Module:
        """The architecture with its initial weights, the same every time."""
        return copy.deepcopy(self._initial)

    def build_tuned(self, base: Path) -> nn.Module:
        """What takes the weights of a fine-tuned or merged checkpoint: the architecture, or the Taylor
        expansion of the checkpoint ``base``.
        """
        model = self.build_model()
        return Linearised(load_weights(model, base)) if self.recipe.pool.linearised else model

    @cached_property
    def _initial(self) -> nn.Module:
        spec, data = self.recipe.model, self.sets[0]
        with seeded("weights", self.recipe.seed):
            if knows_text(spec.name):
                tower: nn.Module = MODELS.get(spec.name)(spec, with_weights=False).image_tower()
                return tower
            mean, std = data.pixel_statistics
            shape = Shape(
                channels=data.images.channels,
                side=data.images.images.shape[-1],
                classes=data.images.classes,
                mean=mean,
                std=std,
            )
            model: nn.Module = MODELS.get(spec.name)(spec, shape)
            return model


def _require_linearisable(model: nn.Module, name: str, images: ImageSet) -> None:
    """Raise :class:`~negmerge.errors.RecipeError` unless the expansion of ``model`` can be trained."""
    pixels = torch.zeros(1, images.channels, *images.images.shape[-2:])
    expanded = Linearised(model)
    try:
        torch.autograd.grad(expanded(pixels).sum(), list(expanded.parameters()), allow_unused=True)
    except RuntimeError as problem:  # NotImplementedError is one
        raise RecipeError(
            f"pool.linearised: {name} has no derivative in forward mode: {problem}",
            remedy="Use another architecture, or leave pool.linearised out",
        ) from problem


def _whole_sets(sets: tuple[DataSet, ...]) -> dict[Split, Part]:
    def part(split: Split) -> Part:
        forget, *retain = (Examples(one.label, one.images, getattr(one.splits, split)) for one in sets)
        return Part(forget, tuple(retain))

    return {"train": part("train"), "validation": part("validation"), "test": part("test")}


def _within(data: DataSet, recipe: Recipe) -> tuple[dict[Split, Part], str]:
    assert recipe.forget is not None
    seed = derived_seed("forget", recipe.seed)
    chosen = select(recipe.forget, data.images, data.splits, seed, label=data.label)

    def part(split: Split) -> Part:
        rows = getattr(chosen, split)
        forget, retain = (Examples(data.label, data.images, these) for these in (rows.forget, rows.retain))
        return Part(forget, (retain,))

    parts: dict[Split, Part] = {
        "train": part("train"),
        "validation": part("validation"),
        "test": part("test"),
    }
    return parts, chosen.description
