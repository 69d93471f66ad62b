"""Time applying and reverting a patch in place, against copying the model.

A model of CLIP ViT-B/32's size in fp32, and patches that change 50, 10 and 1 % of its elements at random.
Every round times, in this order: copying the model into a second one that exists (torch's copy_, tensor by
tensor), the first application of the patch, which compares the model's fingerprints, a second one with
another scale, and the revert. That the model is the base again afterwards is checked once.

    python benchmarks/patch.py --sparsity 90
"""

from __future__ import annotations

import argparse
import sys

import torch
from harness import models, options, state_dicts
from harness.samples import median
from harness.state_dicts import StateDict
from harness.timing import Measurement, interleave, timed

from negmerge_ext import Patch

SPARSITY = (50, 90, 99)


def make_patch(base: StateDict, sparsity: int) -> Patch:
    """A patch that holds each element with the probability that the sparsity in percent leaves."""
    torch.manual_seed(sparsity)
    finetuned = {
        name: torch.where(torch.rand_like(weight) < 1 - sparsity / 100, weight + 0.5, weight)
        for name, weight in base.items()
    }
    return Patch.make(base, [finetuned])


def copy(source: StateDict, target: StateDict) -> None:
    for name, tensor in source.items():
        target[name].copy_(tensor)


def steps(patch: Patch, model: StateDict, second: StateDict) -> dict[str, Measurement]:
    """What a round does, in order; the model is the base before and after."""
    return {
        "copy": timed(lambda: copy(model, second)),
        "first apply": timed(lambda: patch.apply(model, scale=0.5)),
        "apply": timed(lambda: patch.apply(model, scale=1.0)),
        "revert": timed(lambda: patch.revert(model)),
    }


def percentage(text: str) -> int:
    """A whole number from 1 to 99, for argparse."""
    number = int(text)
    if not 1 <= number <= 99:
        raise argparse.ArgumentTypeError(f"{number} is not from 1 to 99")
    return number


def main() -> None:
    parser = options.parser(__doc__)
    parser.add_argument(
        "--sparsity",
        type=percentage,
        metavar="PERCENT",
        nargs="+",
        default=SPARSITY,
        help=f"zeros in the patch (default: {SPARSITY})",
    )
    arguments = parser.parse_args()
    results = options.results(arguments, "patch")
    base, _ = state_dicts.pool(models.resnet18() if arguments.quick else models.clip_vit_b32(), 0)
    second = state_dicts.like(base)
    for sparsity in arguments.sparsity:
        patch = make_patch(base, sparsity)
        model = {name: tensor.clone() for name, tensor in base.items()}
        seconds = interleave(steps(patch, model, second), options.rounds(arguments), shuffle=False)
        if not all(torch.equal(model[name], tensor) for name, tensor in base.items()):
            sys.exit("the reverted model is not the base")
        results.add(
            {"sparsity_percent": sparsity},
            seconds,
            {
                "kept_fraction": patch.kept / patch.elements,
                "model_bytes": state_dicts.nbytes(base),
                "patch_bytes": patch.nbytes,
            },
        )
        print(
            f"{sparsity} % sparse:",
            *(f"{name} {median(seconds, name) * 1e3:.1f} ms" for name in seconds),
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
