"""Training from the initial weights, as a stage of a run: the base, and Retrain."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict

from torch import nn

from .checkpoint import save_weights
from .compute import Compute
from .console import Reporter
from .data.examples import Examples
from .recipe import Training
from .run_folder import Artefact
from .stage import Cost, training_cost
from .train import Objective, cross_entropy, train


def trained_from_scratch(
    artefact: Artefact,
    key: str,
    title: str,
    model: nn.Module,
    examples: Sequence[Examples],
    spec: Training,
    *,
    seed: int,
    compute: Compute,
    reporter: Reporter,
    objective: Objective = cross_entropy,
) -> float:
    """Train ``model`` in place and save it, unless ``artefact`` is finished under ``key``.

    Return the seconds that training took, now or then. title: what is trained, for people. The other
    arguments are those of :func:`~negmerge.train.train`.
    """
    if (cost := training_cost(artefact, key)) is not None:
        reporter.note(f"{title}: taken from {artefact.file}")
        return cost.seconds
    artefact.begin()
    start = time.perf_counter()
    count = sum(len(one) for one in examples)
    with reporter.stage(f"{title}: training on {count:,} images", math.ceil(spec.epochs)) as stage:
        train(
            model,
            examples,
            spec,
            seed=seed,
            compute=compute,
            objective=objective,
            epoch_done=stage.advance,
        )
    save_weights(model, artefact.file)
    cost = Cost(time.perf_counter() - start)
    artefact.finish(key, asdict(cost))
    return cost.seconds
