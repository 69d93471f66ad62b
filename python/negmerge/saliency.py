"""Where the models of a run see the classes of some images, before and after: a stage of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from .checkpoint import load_weights
from .compute import Compute
from .console import Reporter
from .data.examples import Examples
from .evaluate import outputs
from .grad_cam import NoFeatureMapError, grad_cam
from .keys import content_key
from .methods.interface import Context, Method
from .results import Row
from .run_folder import RunFolder, appearing_complete
from .task import Task

#: Images shown of the forget set, and of the retain set.
_SHOWN = 3
#: Images looked at for some that the base has right.
_LOOKED_AT = 64
#: Pixels that the longer side of what is kept has at most.
_LARGEST = 160


@dataclass(frozen=True, slots=True)
class SeenImage:
    """part: "forget" or "retain". predictions: the class that every model sees, by name."""

    part: str
    label: str
    predictions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Saliency:
    """Maps of every model on every image.

    models: titles, the base first. layer: whose feature map is shown. missing: why there are none, in words.
    pixels: uint8 ``[images, channels, height, width]``. maps: float32 ``[models, images, h, w]`` in [0, 1],
    where 1 is the largest value that any of the models has on the image.
    """

    models: tuple[str, ...]
    layer: str
    missing: str | None
    images: tuple[SeenImage, ...]
    pixels: torch.Tensor
    maps: torch.Tensor


def saliency(
    task: Task, context: Context, rows: Sequence[Row], folder: RunFolder, reporter: Reporter
) -> None:
    """Record where the base and the unlearned models see their classes, unless the stage is finished.

    The images are of the test split (training images where single ones are forgotten), evenly spread among
    those of every data set that the base has right, as far as there are such.
    """
    key = content_key("grad-cam of maps and patches", context.training_key, [asdict(row) for row in rows])
    artefact = folder.grad_cam
    if artefact.finished(key) is not None and read_saliency(folder) is not None:
        return
    artefact.begin()
    methods = {one.called: one.method for one in task.recipe.methods}
    with reporter.stage("Grad-CAM", len(rows)) as stage:
        base = load_weights(task.build_model(), context.base.path)
        test = task.parts["test"]
        chosen = [
            (part, _chosen(base, examples, task.compute))
            for part, examples in (("forget", test.forget), *(("retain", one) for one in test.retain))
        ]
        shown = [(part, examples, *_tensors(examples)) for part, examples in chosen]
        maps, predicted, layer, missing = [], [], "", None
        try:
            for model in (base, *(_model(context, methods[row.method], row) for row in rows[1:])):
                seen = [grad_cam(model, pixels, labels, one.head) for _, one, pixels, labels in shown]
                maps.append(torch.cat([one.maps for one in seen]))
                predicted.append([one.logits.argmax(dim=1).tolist() for one in seen])
                layer = layer or seen[0].layer
                stage.advance()
        except NoFeatureMapError as problem:
            maps, missing = [], str(problem)
    images = [
        SeenImage(
            part,
            names[label],
            () if missing else tuple(names[by_model[group][place]] for by_model in predicted),
        )
        for group, (part, examples, _, labels) in enumerate(shown)
        for names in [examples.images.class_names]
        for place, label in enumerate(labels.tolist())
    ]
    kept = torch.empty(0) if missing else _scaled(torch.stack(maps))
    with appearing_complete(artefact.file) as unfinished:
        save_file({"pixels": _together([pixels for _, _, pixels, _ in shown]), "maps": kept}, unfinished)
    artefact.finish(
        key,
        {
            "models": [row.title for row in rows],
            "layer": layer,
            "missing": missing,
            "images": [asdict(image) for image in images],
        },
    )


def read_saliency(folder: RunFolder) -> Saliency | None:
    """What was recorded; ``None`` if nothing was, or it is damaged."""
    facts = folder.grad_cam.recorded()
    if facts is None:
        return None
    try:
        tensors = load_file(folder.grad_cam.file)
        found = Saliency(
            models=tuple(facts["models"]),
            layer=facts["layer"],
            missing=facts["missing"],
            images=tuple(_seen(image) for image in facts["images"]),
            pixels=tensors["pixels"],
            maps=tensors["maps"],
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return found if _complete(found) else None


def _complete(found: Saliency) -> bool:
    """Whether there is a picture of every image, and an answer and a map of every model on it."""
    models, images = len(found.models), len(found.images)
    answers = 0 if found.missing else models
    return (
        len(found.pixels) == images
        and all(len(image.predictions) == answers for image in found.images)
        and (found.missing is not None or tuple(found.maps.shape[:2]) == (models, images))
    )


def _seen(plain: dict[str, Any]) -> SeenImage:
    return SeenImage(**{**plain, "predictions": tuple(plain["predictions"])})


def _chosen(base: nn.Module, examples: Examples, compute: Compute) -> Examples:
    rows = examples.rows
    looked_at = rows[np.unique(np.linspace(0, len(rows) - 1, min(_LOOKED_AT, len(rows))).astype(np.int64))]
    answers = outputs(base, replace(examples, rows=looked_at), compute)
    right = (answers.logits.argmax(dim=1) == answers.labels).numpy()
    ordered = np.concatenate([looked_at[right], looked_at[~right]])
    among = max(int(right.sum()), min(_SHOWN, len(ordered)))
    return replace(
        examples, rows=ordered[np.unique(np.linspace(0, among - 1, min(_SHOWN, among)).astype(np.int64))]
    )


def _tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    (batch,) = examples.batches(len(examples))
    return batch


def _model(context: Context, method: Method, row: Row) -> nn.Module:
    """The model of a row, loaded by the candidate that wrote it."""
    candidates = method.candidates(context)
    # One that the method grew during its search is loaded as the others are.
    candidate = next((one for one in candidates if one.title == row.candidate), candidates[0])
    return candidate.load(context.folder.merged(row.method).file)


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    largest = maps.amax(dim=(0, 2, 3), keepdim=True)
    return torch.where(largest > 0, maps / largest, torch.zeros_like(maps)).contiguous()


def _together(groups: Sequence[torch.Tensor]) -> torch.Tensor:
    """Images of several data sets as one tensor, of the largest size among them.

    But no side is longer than :data:`_LARGEST` pixels. Grey images are made coloured beside coloured ones.
    """
    channels = max(pixels.shape[1] for pixels in groups)
    height, width = (max(pixels.shape[side] for pixels in groups) for side in (2, 3))
    share = min(1.0, _LARGEST / max(height, width))
    size = [max(1, round(share * height)), max(1, round(share * width))]
    return torch.cat([_resized(pixels.expand(-1, channels, -1, -1), size) for pixels in groups])


def _resized(pixels: torch.Tensor, size: list[int]) -> torch.Tensor:
    if list(pixels.shape[2:]) == size:
        return pixels.contiguous()
    resized = functional.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8).contiguous()
