"""The same merge in plain torch: what one writes first, what one writes with care, and what is compiled.

All take the base tensor, the fine-tuned ones, the scale and the tensor to write, or ``None`` for a new one;
they compute in fp32 and return what they wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Tensor = torch.Tensor
Formula = Callable[[Tensor, Sequence[Tensor], float, Tensor | None], Tensor]


def stacked(base: Tensor, finetuned: Sequence[Tensor], scale: float, out: Tensor | None) -> Tensor:
    """Stack the differences, compare and average along the stack."""
    start = base.float()
    deltas = torch.stack([model.float() - start for model in finetuned])
    keep = (deltas > 0).all(0) | (deltas < 0).all(0)
    merged = (start - scale * torch.where(keep, deltas.mean(0), 0.0)).to(base.dtype)
    return merged if out is None else out.copy_(merged)


def elementwise(base: Tensor, finetuned: Sequence[Tensor], scale: float, out: Tensor | None) -> Tensor:
    """A running sum and two masks, all elementwise: a compiler can make one loop of it."""
    start = base.float()
    total = delta = finetuned[0].float() - start
    positive, negative = delta > 0, delta < 0
    for model in finetuned[1:]:
        delta = model.float() - start
        total = total + delta
        positive, negative = positive & (delta > 0), negative & (delta < 0)
    moved = start - scale * (total / len(finetuned))
    merged = torch.where(positive | negative, moved, start).to(base.dtype)
    return merged if out is None else out.copy_(merged)


def compiled() -> Formula:
    """:func:`elementwise` under ``torch.compile``, for one number of models and one shape.

    Instances share what was compiled, of which torch keeps so much and then goes on uncompiled: that is an
    error here. :func:`forget_compiled` makes room.
    """
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    return torch.compile(elementwise, dynamic=False)


def forget_compiled() -> None:
    """Drop all compiled code; to be called before formulas for another number of models are made."""
    torch.compiler.reset()


class InPlace:
    """A loop over the models with in-place operations, on memory that is allocated once.

    All differences have the same sign if the smallest is above zero or the largest below.
    """

    def __init__(self, like: Tensor) -> None:
        self._start, self._delta, self._total, self._low, self._high = (
            torch.empty_like(like, dtype=torch.float32) for _ in range(5)
        )
        self._keep, self._negative = (torch.empty_like(like, dtype=torch.bool) for _ in range(2))

    def __call__(self, base: Tensor, finetuned: Sequence[Tensor], scale: float, out: Tensor | None) -> Tensor:
        """Merge tensors of the shape that this was made for."""
        merged = torch.empty_like(base) if out is None else out
        start = base if base.dtype == torch.float32 else self._start.copy_(base)
        for index, model in enumerate(finetuned):
            self._subtract(model, start)
            if index == 0:
                for running in (self._total, self._low, self._high):
                    running.copy_(self._delta)
                continue
            self._total.add_(self._delta)
            torch.minimum(self._low, self._delta, out=self._low)
            torch.maximum(self._high, self._delta, out=self._high)
        torch.gt(self._low, 0, out=self._keep)
        torch.lt(self._high, 0, out=self._negative)
        self._keep.logical_or_(self._negative)
        self._total.div_(len(finetuned)).mul_(scale).mul_(self._keep)
        if merged.dtype == torch.float32:
            return torch.sub(start, self._total, out=merged)
        return merged.copy_(torch.sub(start, self._total, out=self._delta))

    def _subtract(self, model: Tensor, start: Tensor) -> None:
        if model.dtype == torch.float32:
            torch.sub(model, start, out=self._delta)
        else:
            self._delta.copy_(model).sub_(start)


#: By the name in results: what makes the formula for tensors like one.
FORMULAS: dict[str, Callable[[Tensor], Formula]] = {
    "torch.stack": lambda like: stacked,
    "torch in place": InPlace,
    "torch.compile": lambda like: compiled(),
}
