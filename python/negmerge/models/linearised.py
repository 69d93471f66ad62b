"""A model replaced by its first-order Taylor expansion around its weights.

Source: Ortiz-Jimenez, Favero and Frossard, Task Arithmetic in the Tangent Space: Improved Editing of
Pre-Trained Models, NeurIPS 2023.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import torch
from torch import nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel


class Linearised(nn.Module):
    """f_lin(x; θ) = f(x; θ₀) + ⟨∇f(x; θ₀), θ − θ₀⟩, where f is ``model`` and θ₀ its parameters as they are.

    Its modules, parameters (θ, which begins as θ₀) and buffers are the model's own, by the same names: it is
    trained, saved, loaded and patched as the model would be. θ₀ is a copy that no state dict has. f is the
    model in eval mode, also while θ is trained: BatchNorm normalises by its running statistics, and nothing
    is dropped.

    What f computes has to be differentiable in forward mode; otherwise torch raises NotImplementedError or
    RuntimeError, as it may under autocast.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        _load_forward_mode()
        self._modules, self._parameters, self._buffers = model._modules, model._parameters, model._buffers
        self._non_persistent_buffers_set = model._non_persistent_buffers_set
        object.__setattr__(self, "_model", model.eval())  # no submodule: names would begin with it
        self._origin = {name: one.detach().clone() for name, one in model.named_parameters()}

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        model: nn.Module = self.__dict__["_model"]
        parameters = dict(self.named_parameters())
        origin = {name: self._origin[name] for name in parameters}
        # The derivative for what is frozen would be multiplied by zeros.
        moving = {name: origin[name] for name in _moving(parameters, origin)}

        def f(moving: dict[str, torch.Tensor]) -> torch.Tensor:
            answers: torch.Tensor = functional_call(model, {**origin, **moving}, inputs)
            return answers

        if not moving:
            return f({})
        with _in_forward_mode():
            change = {name: parameters[name] - one for name, one in moving.items()}
            at_origin, difference, *_ = jvp(f, (moving,), (change,))
        answers: torch.Tensor = at_origin + difference
        return answers

    def train(self, mode: bool = True) -> Linearised:
        """The model itself stays in eval mode."""
        self.training = mode
        return self

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Linearised:
        """What ``to`` does to the parameters is done to θ₀ too."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._origin = {name: fn(origin) for name, origin in self._origin.items()}
        return self


def _moving(parameters: Mapping[str, torch.Tensor], origin: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of what is trained or was changed."""
    trained = {name for name, one in parameters.items() if torch.is_grad_enabled() and one.requires_grad}
    others = [name for name in parameters if name not in trained]
    if not others:
        return list(parameters)
    # One answer of the device for all.
    changed = torch.stack([(parameters[name] != origin[name]).any() for name in others]).tolist()
    trained.update(name for name, differs in zip(others, changed, strict=True) if differs)
    return [name for name in parameters if name in trained]


@contextmanager
def _in_forward_mode() -> Iterator[None]:
    """Within the block attention is computed by operations that have derivatives in forward mode."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


@cache
def _load_forward_mode() -> None:
    """What torch loads when it is first asked for such a derivative warns of what torch itself uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jvp(torch.sin, (torch.zeros(()),), (torch.zeros(()),))
