"""State dicts of torch tensors: a base and fine-tuned models that agree on part of their changes."""

from __future__ import annotations

import math
from functools import cache

import torch

from .models import Shapes

StateDict = dict[str, torch.Tensor]

#: Elements of noise; models take it from an offset of their own, for random numbers are slow to make.
_NOISE = 1 << 22


def base(shapes: Shapes, dtype: torch.dtype = torch.float32, device: str = "cpu") -> StateDict:
    """Random weights; every tensor is an allocation of its own, as in a model that was loaded."""
    return {
        name: (_window(0, _start(index), shape, torch.device(device)) * 0.02).to(dtype)
        for index, (name, shape) in enumerate(shapes.items())
    }


def finetuned(start: StateDict, model: int) -> StateDict:
    """The base after a change that all models share plus as much that is this model's own."""
    state: StateDict = {}
    for index, (name, weight) in enumerate(start.items()):
        shape = tuple(weight.shape)
        change = _window(1, _start(index), shape, weight.device)
        change += _window(0, _start(index) + 7919 * (model + 1), shape, weight.device)
        state[name] = change.mul_(1e-3).add_(weight).to(weight.dtype)
    return state


def pool(
    shapes: Shapes, models: int, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> tuple[StateDict, list[StateDict]]:
    """A base and its fine-tuned models, of the same values on every device."""
    start = base(shapes, dtype, device)
    return start, [finetuned(start, model) for model in range(models)]


def like(state: StateDict) -> StateDict:
    """A state dict of the same shapes with memory that has been touched."""
    return {name: torch.zeros_like(tensor) for name, tensor in state.items()}


def nbytes(state: StateDict) -> int:
    """Bytes of all tensors."""
    return sum(tensor.nbytes for tensor in state.values())


@cache
def _noise(seed: int, device: torch.device) -> torch.Tensor:
    return torch.randn(_NOISE, generator=torch.Generator().manual_seed(seed)).to(device)


def _start(index: int) -> int:
    """Where in the noise a tensor begins."""
    return 1013 * index


def _window(seed: int, start: int, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """A copy of the noise from ``start`` on, from its begin again where it ends.

    Nothing larger is allocated on the way: a temporary of the noise's size beside every small tensor would
    leave the heap full of holes, which cost a multiple of the model's memory.
    """
    noise, size = _noise(seed, device), math.prod(shape)
    window = torch.empty(size, device=device)
    begin, done = start % _NOISE, 0
    while done < size:
        count = min(_NOISE - begin, size - done)
        window[done : done + count] = noise[begin : begin + count]
        begin, done = 0, done + count
    return window.view(shape)
