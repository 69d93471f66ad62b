"""``torch.ops.negmerge.merge``: the merge of one tensor as a torch operator.

It works on tensors of the CPU and of CUDA devices, under ``torch.compile`` and ``torch.export``. There is
no gradient formula: the merged vector is a mean under a sign condition and merging is the end of training,
so going backward through it raises an error.
"""

from __future__ import annotations

import torch

from .errors import DeviceError, PoolError, ShapeMismatchError

# Written out: torch 2.6 cannot infer it from list[torch.Tensor].
_SCHEMA = (
    '(Tensor base, Tensor[] finetuned, float scale=1.0, str mode="negate", str method="negmerge") -> Tensor'
)


@torch.library.custom_op("negmerge::merge", mutates_args=(), device_types=("cpu", "cuda"), schema=_SCHEMA)
def merge(
    base: torch.Tensor,
    finetuned: list[torch.Tensor],
    scale: float = 1.0,
    mode: str = "negate",
    method: str = "negmerge",
) -> torch.Tensor:
    """Merge one tensor with its N ≥ 1 fine-tuned versions (equal shapes, one device, any mergeable dtypes).

    ``scale``, ``mode`` and ``method`` are those of :func:`negmerge_ext.merge`, and so are the errors, which
    name ``base`` or ``finetuned[k]``. On a CUDA device it works on the current stream. Returns a new tensor
    of the base's dtype and, as ``torch.empty_like`` gives them, its strides.
    """
    from .api import merge as merge_state_dicts

    _check(base, finetuned)
    merged = merge_state_dicts(
        {"input": base},
        [{"input": tensor} for tensor in finetuned],
        scale=scale,
        mode=mode,
        method=method,
    )
    result: torch.Tensor = merged["input"]
    return result


@merge.register_fake
def _(
    base: torch.Tensor,
    finetuned: list[torch.Tensor],
    scale: float = 1.0,
    mode: str = "negate",
    method: str = "negmerge",
) -> torch.Tensor:
    _check(base, finetuned)
    return torch.empty_like(base)


def _check(base: torch.Tensor, finetuned: list[torch.Tensor]) -> None:
    """What the operator demands of real and of fake tensors alike.

    A meta tensor among real ones comes to the fake kernel, whose result has no values.
    """
    if not finetuned:
        raise PoolError("no fine-tuned tensor was given", remedy="Give at least one")
    for number, tensor in enumerate(finetuned):
        if tensor.device != base.device:
            raise DeviceError(f"finetuned[{number}] is on {tensor.device}, base on {base.device}")
        if tensor.shape != base.shape:
            shapes = f"{list(tensor.shape)}, base {list(base.shape)}"
            raise ShapeMismatchError(f"finetuned[{number}] has shape {shapes}")
