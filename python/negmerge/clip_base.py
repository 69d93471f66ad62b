"""The base that is a model of images and text: its image tower, and a head for each data set from its text
tower.

It is a published checkpoint, or it is trained on the training splits of all the data sets of the recipe, what
is to be forgotten included. A trained one is kept outside the run's folder: it serves every recipe that names
the same data sets, whichever of them is forgotten, and every seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from safetensors.torch import load_file, save_file
from torch import nn

from .checkpoint import load_weights, save_weights
from .console import Reporter
from .data.prompts import prompts
from .folder_lock import locked
from .from_scratch import trained_from_scratch
from .keys import content_key, derived_seed
from .methods.interface import Checkpoint
from .model_store import model_store
from .models import MODELS
from .models.clip.clip import Clip
from .models.clip.contrastive import PromptsContrastive
from .models.clip.text_head import TextHead, head_weights
from .recipe import Training
from .run_folder import Artefact, RunFolder, appearing_complete
from .seeding import seeded
from .stage import Cost, training_cost
from .task import Task

_TITLE = "Base"


def clip_base(
    task: Task, folder: RunFolder, reporter: Reporter
) -> tuple[Checkpoint, Mapping[str, nn.Module]]:
    """The image tower as the run's base, and heads by label of data set; whatever is not there is made."""
    key = clip_key(task)
    texts = {one.label: prompts(one.images.name, one.images.class_names) for one in task.sets}
    head_key = content_key("heads", key, texts)
    cost = training_cost(folder.base, key)
    if cost is None or folder.heads.finished(head_key) is None:
        clip, seconds = _trained_or_published(task, key, reporter)
        folder.base.begin()
        save_weights(clip.image_tower(), folder.base.file)
        folder.heads.begin()
        with appearing_complete(folder.heads.file) as unfinished:
            weights = {label: head_weights(clip, texts[label], task.compute) for label in texts}
            save_file(weights, unfinished)
        folder.heads.finish(head_key, {"templates": {label: len(of[0]) for label, of in texts.items()}})
        cost = Cost(seconds)
        folder.base.finish(key, asdict(cost))
    heads = {label: TextHead(weight) for label, weight in load_file(folder.heads.file).items()}
    return Checkpoint(folder.base.file, key, cost.seconds), heads


def clip_key(task: Task) -> str:
    """Content key: of everything that the model depends on. Roles of data sets are not part of it."""
    training = task.recipe.training
    if training is None:
        return content_key("clip", task.model_key)
    data = sorted(one.key for one in task.sets)
    return content_key("clip", task.model_key, training, data, task.numerics_key)


def kept_clip(key: str) -> Artefact:
    """Where a trained model with this content key is kept, for every run that it serves."""
    place = model_store() / key[:16]
    return Artefact(place / "clip.json", place / "clip.safetensors")


def _trained_or_published(task: Task, key: str, reporter: Reporter) -> tuple[Clip, float]:
    """The whole model, and the seconds that training it took, now or once."""
    recipe = task.recipe
    if recipe.training is None:
        reporter.note(f"{_TITLE}: {recipe.model.name}, {recipe.model.pretrained}")
        with seeded("clip weights"):
            return _built(task), 0.0
    kept = kept_clip(key)
    with seeded("clip weights", recipe.training.seed):
        clip = _built(task)
    place = kept.file.parent
    with locked(place, use="keep the base", busy="another run is training the base that this one needs"):
        seconds = _train(clip, task, recipe.training, kept, key, reporter)
    load_weights(clip.model, kept.file)
    return clip, seconds


def _built(task: Task) -> Clip:
    clip: Clip = MODELS.get(task.recipe.model.name)(task.recipe.model, with_weights=True)
    return clip


def _train(clip: Clip, task: Task, spec: Training, kept: Artefact, key: str, reporter: Reporter) -> float:
    # Always in the same order, whichever is forgotten.
    sets = sorted(task.sets, key=lambda one: one.key)
    texts = [prompts(one.images.name, one.images.class_names) for one in sets]
    return trained_from_scratch(
        kept,
        key,
        _TITLE,
        clip.model,
        [task.training_split(one) for one in sets],
        spec,
        seed=derived_seed("clip", spec.seed),
        compute=task.compute,
        reporter=reporter,
        objective=PromptsContrastive(clip, texts, task.compute.device),
    )
