"""sd-mecha with the merge by sign consensus as a method of its own: BASE FINETUNED... OUT.

Its decorator reads annotations as objects, so they are not postponed here.
"""

import sys
from typing import Any

import sd_mecha
import torch

Given: Any = sd_mecha.Parameter(torch.Tensor)
Result: Any = sd_mecha.Return(torch.Tensor)


@sd_mecha.merge_method
def consensus(base: Given, *pool: Given) -> Result:
    """θ₀ − τ of one tensor."""
    total = pool[0] - base
    positive, negative = total > 0, total < 0
    for weight in pool[1:]:
        delta = weight - base
        total += delta
        positive &= delta > 0
        negative &= delta < 0
    return base - torch.where(positive | negative, total.div_(len(pool)), 0.0)


def main(*paths: str) -> None:
    *inputs, out = paths
    recipe = consensus(*(sd_mecha.model(path) for path in inputs))
    sd_mecha.merge(recipe, merge_dtype=torch.float32, output_dtype=torch.float32, output=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
