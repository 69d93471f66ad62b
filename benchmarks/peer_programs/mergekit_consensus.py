"""mergekit-pytorch with the merge by sign consensus as a method of its own, called "consensus".

It holds two tensors and two masks whatever the number of models, which is less than stacking them.
"""

from __future__ import annotations

import torch
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import BasePolicy, InputContract, TensorGroup
from mergekit.merge_methods.easy_define import merge_method
from mergekit.scripts.merge_raw_pytorch import main


@merge_method(name="consensus", contract=InputContract(base=BasePolicy.REQUIRED))
def consensus(group: TensorGroup) -> torch.Tensor:
    """θ₀ − τ of one tensor."""
    base = group.base.tensor
    pool = [entry.tensor for entry in group.non_base]
    total = pool[0] - base
    positive, negative = total > 0, total < 0
    for weight in pool[1:]:
        delta = weight - base
        total += delta
        positive &= delta > 0
        negative &= delta < 0
    return base - torch.where(positive | negative, total.div_(len(pool)), 0.0)


registry.register(consensus)

if __name__ == "__main__":
    main()
