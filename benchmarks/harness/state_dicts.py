"""State dicts of torch tensors: a base and fine-tuned models that agree on part of their changes."""

from __future__ import annotations

import math

import torch

from .models import Shapes

StateDict = dict[str, torch.Tensor]

#: Elements of the noise that models share, each from an offset of its own: random numbers are slow to make.
_NOISE = 1 << 22


def pool(
    shapes: Shapes, models: int, dtype: torch.dtype = torch.float32
) -> tuple[StateDict, list[StateDict]]:
    """A base and its fine-tuned models; a change is a part that all share plus as much of its own.

    Every tensor is an allocation of its own, as in a model that was loaded.
    """
    torch.manual_seed(0)
    noise, shared = torch.randn(_NOISE), torch.randn(_NOISE)
    base: StateDict = {}
    finetuned: list[StateDict] = [{} for _ in range(models)]
    for index, (name, shape) in enumerate(shapes.items()):
        size, start = math.prod(shape), 1013 * index
        weight = _window(noise, size, start) * 0.02
        moved = weight + _window(shared, size, start) * 1e-3
        base[name] = weight.view(shape).to(dtype, copy=True)
        for model, state in enumerate(finetuned, start=1):
            change = _window(noise, size, start + 7919 * model) * 1e-3
            state[name] = change.add_(moved).view(shape).to(dtype, copy=True)
    return base, finetuned


def like(state: StateDict) -> StateDict:
    """A state dict of the same shapes with memory that has been touched."""
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def nbytes(state: StateDict) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensor in state.values())


def _window(noise: torch.Tensor, size: int, start: int) -> torch.Tensor:
    """``size`` elements of the noise from ``start`` on, repeating it; a copy."""
    begin = start % _NOISE
    repeats = -(-(begin + size) // _NOISE)
    return noise.repeat(repeats)[begin : begin + size].clone()
