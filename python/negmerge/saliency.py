"""Where the models of a run see the classes of some images, before and after: a stage of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from .checkpoint import load_weights
from .console import Reporter
from .grad_cam import NoFeatureMapError, grad_cam
from .keys import content_key
from .methods import METHODS
from .methods.interface import Context
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
    those that the base has right, as far as there are such.
    """
    key = content_key("grad-cam", task.training_key, [asdict(row) for row in rows])
    artefact = folder.grad_cam
    if artefact.finished(key) is not None:
        return
    artefact.begin()
    with reporter.stage("Grad-CAM", len(rows)) as stage:
        base = load_weights(task.build_model(), context.base.path)
        chosen = [
            (part, _chosen(task, base, places))
            for part, places in (
                ("forget", task.selection.test.forget),
                ("retain", task.selection.test.retain),
            )
        ]
        places = np.concatenate([found for _, found in chosen])
        pixels, labels = task.tensors(places)
        maps, predicted, layer, missing = [], [], "", None
        try:
            for model in (base, *(_model(context, row) for row in rows[1:])):
                seen = grad_cam(model, pixels, labels)
                maps.append(seen.maps)
                predicted.append(seen.logits.argmax(dim=1).tolist())
                layer = layer or seen.layer
                stage.advance()
        except NoFeatureMapError as problem:
            maps, missing = [], str(problem)
    names = task.images.class_names
    parts = [part for part, found in chosen for _ in found]
    images = [
        SeenImage(part, names[label], () if missing else tuple(names[one[place]] for one in predicted))
        for place, (part, label) in enumerate(zip(parts, labels.tolist(), strict=True))
    ]
    kept = torch.empty(0) if missing else _scaled(torch.stack(maps))
    with appearing_complete(artefact.file) as unfinished:
        save_file({"pixels": _smaller(pixels), "maps": kept}, unfinished)
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
    """What was recorded; ``None`` if nothing was."""
    facts = folder.grad_cam.recorded()
    if facts is None:
        return None
    tensors = load_file(folder.grad_cam.file)
    return Saliency(
        models=tuple(facts["models"]),
        layer=facts["layer"],
        missing=facts["missing"],
        images=tuple(_seen(image) for image in facts["images"]),
        pixels=tensors["pixels"],
        maps=tensors["maps"],
    )


def _seen(plain: dict[str, Any]) -> SeenImage:
    return SeenImage(**{**plain, "predictions": tuple(plain["predictions"])})


def _chosen(task: Task, base: nn.Module, rows: np.ndarray) -> np.ndarray:
    looked_at = rows[np.unique(np.linspace(0, len(rows) - 1, min(_LOOKED_AT, len(rows))).astype(np.int64))]
    pixels, labels = task.tensors(looked_at)
    with torch.inference_mode():
        right = (base(pixels.float() / 255).argmax(dim=1) == labels).numpy()
    ordered = np.concatenate([looked_at[right], looked_at[~right]])
    among = max(int(right.sum()), min(_SHOWN, len(ordered)))
    return ordered[np.unique(np.linspace(0, among - 1, min(_SHOWN, among)).astype(np.int64))]


def _model(context: Context, row: Row) -> nn.Module:
    """The model of a row, loaded by the candidate that wrote it."""
    candidates = METHODS.get(row.method).candidates(context)
    # One that the method grew during its search is loaded as the others are.
    candidate = next((one for one in candidates if one.title == row.candidate), candidates[0])
    return candidate.load(context.folder.merged(row.method).file)


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    largest = maps.amax(dim=(0, 2, 3), keepdim=True)
    return torch.where(largest > 0, maps / largest, torch.zeros_like(maps)).contiguous()


def _smaller(pixels: torch.Tensor) -> torch.Tensor:
    """Images of at most :data:`_LARGEST` pixels on either side, however large they were."""
    longer = max(pixels.shape[2:])
    if longer <= _LARGEST:
        return pixels.contiguous()
    resized = functional.interpolate(
        pixels.float(), scale_factor=_LARGEST / longer, mode="bilinear", antialias=True
    )
    return resized.round().clamp(0, 255).to(torch.uint8).contiguous()
