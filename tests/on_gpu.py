"""State dicts of the tests on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import oracle
import torch
from state_dicts import as_numpy, as_torch
from values import agreeing

State = dict[str, torch.Tensor]

#: Less than a block of the kernel, several of them, a scalar, nothing, and orders other than row-major.
SHAPES: dict[str, tuple[int, ...]] = {
    "norm": (77,),
    "embedding": (120, 300),
    "scale": (),
    "empty": (0, 5),
    "images": (8, 4, 5, 6),
}


def strided_copy(value: torch.Tensor, device: str | torch.device = "cuda") -> torch.Tensor:
    """A copy on a device with the strides of ``value``, holes in its memory included."""
    span = 1 + sum((size - 1) * stride for size, stride in zip(value.shape, value.stride(), strict=True))
    room = torch.empty(span if value.numel() else 0, dtype=value.dtype, device=device)
    copy = room.as_strided(value.shape, value.stride())
    copy.copy_(value)
    return copy


def on_gpu(state: Mapping[str, torch.Tensor], device: str | torch.device = "cuda") -> State:
    return {name: strided_copy(value, device) for name, value in state.items()}


def models(count: int, dtype: np.dtype = oracle.F32, seed: int = 0) -> tuple[State, list[State]]:
    """A base and a pool on the CPU, whose updates often agree, and an integer buffer."""
    rng = np.random.default_rng(seed)
    base: State = {"steps": torch.arange(1000)}
    pool: list[State] = [{"steps": torch.arange(1000) + k} for k in range(count)]
    for name, shape in SHAPES.items():
        array, tuned = agreeing(rng, shape, dtype, (dtype,) * count)
        base[name] = as_torch(array)
        for state, theta in zip(pool, tuned, strict=True):
            state[name] = as_torch(theta)
    for state in (base, *pool):
        state["images"] = state["images"].contiguous(memory_format=torch.channels_last)
    return base, pool


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Same names and bits (any NaN equals any other); ``found`` is on a GPU."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].is_cuda
        assert oracle.same_bits(as_numpy(found[name].cpu()), as_numpy(value)), name
