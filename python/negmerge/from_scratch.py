"""Training from the initial weights, as a stage of a run: the base, and Retrain."""

from __future__ import annotations

import time

import torch
from torch import nn

from .checkpoint import save_weights
from .console import Reporter
from .recipe import Training
from .run_folder import Artefact
from .train import train


def trained_from_scratch(
    artefact: Artefact,
    key: str,
    title: str,
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    spec: Training,
    *,
    seed: int,
    reporter: Reporter,
) -> float:
    """Train ``model`` in place and save it, unless ``artefact`` is finished under ``key``.

    Return the seconds that training took, now or then. title: what is trained, for people. images, labels,
    spec and seed are those of :func:`~negmerge.train.train`.
    """
    if (facts := artefact.finished(key)) is not None:
        reporter.note(f"{title}: taken from {artefact.file}")
        return float(facts["seconds"])
    artefact.begin()
    start = time.perf_counter()
    with reporter.stage(f"{title}: training on {len(images):,} images", spec.epochs) as stage:
        train(model, images, labels, spec, seed=seed, epoch_done=stage.advance)
    save_weights(model, artefact.file)
    seconds = time.perf_counter() - start
    artefact.finish(key, {"seconds": seconds})
    return seconds
