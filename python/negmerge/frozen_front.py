"""What all models of a run compute alike before anything that fine-tuning changes: computed once per image.

Fine-tuning that freezes the first layers of a model leaves them in every checkpoint as they are in the base,
and so does whatever is merged of these. A search asks hundreds of such models about the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

#: Bytes of intermediate results that are kept; images beyond them pass through the whole model every time.
_ROOM = 1 << 30

#: Asks a model about a batch, which is named by a key, and made only if it is needed.
Asking = Callable[[Hashable, Callable[[], torch.Tensor]], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Cut:
    """front: names of the modules that are called before anything trained. seam: of the one called next."""

    front: tuple[str, ...]
    seam: str


class FrozenFront:
    """The frozen modules at the front of a model, and what they made of images that were asked about.

    frozen: names of parameters that all models share. They are compared for every model: one with others
    passes through as a whole, as does a model that is no chain of modules up to the first trained one. Either
    way answers are the same to the bit.
    """

    def __init__(self, frozen: Collection[str]) -> None:
        self._frozen = frozenset(frozen)
        self._state: list[torch.Tensor] | None = None
        self._is_chain: dict[type[nn.Module], bool] = {}
        self._made: dict[Hashable, torch.Tensor] = {}
        self._room = _ROOM

    def through(self, model: nn.Module) -> Asking:
        """How to ask ``model``, which is in eval mode, without gradients."""
        cut = _cut(model, self._frozen) if self._is_chain.get(type(model), True) else None
        if cut is None or not self._is_shared_by(model, cut):
            return lambda _, pixels: model(pixels())
        return lambda key, pixels: self._asked(model, cut, key, pixels)

    def _is_shared_by(self, model: nn.Module, cut: _Cut) -> bool:
        modules = [model.get_submodule(name) for name in cut.front]
        state = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        if self._state is None:
            self._state = [tensor.detach().clone() for tensor in state]
            return True
        return len(state) == len(self._state) and all(map(_same, state, self._state))

    def _asked(
        self, model: nn.Module, cut: _Cut, key: Hashable, pixels: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        answer: torch.Tensor
        made = self._made.get(key)
        if made is not None and self._is_chain.get(type(model)):
            with _skipped(model, cut.front):
                answer = model(made.clone())
            return answer
        reached: list[torch.Tensor] = []
        seam = model.get_submodule(cut.seam)
        # Later layers may write into their input.
        hook = seam.register_forward_pre_hook(lambda _, inputs: reached.extend(map(torch.clone, inputs[:1])))
        try:
            answer = model(pixels())
        finally:
            hook.remove()
        if type(model) not in self._is_chain:
            self._is_chain[type(model)] = bool(reached) and _is_chain(model, cut, reached[0].clone(), answer)
        if self._is_chain[type(model)] and made is None and reached[0].nbytes <= self._room:
            self._room -= reached[0].nbytes
            self._made[key] = reached[0]
        return answer


def _cut(model: nn.Module, frozen: Collection[str]) -> _Cut | None:
    """Where the frozen front of ``model`` ends, if modules are called in the order in which they are listed;
    ``None`` if there is no parameter in it.
    """
    front: list[str] = []
    place, module = "", model
    while True:
        before: list[str] = []
        for name, child in module.named_children():
            at = f"{place}.{name}" if place else name
            if any(f"{at}.{one}" not in frozen for one, _ in child.named_parameters()):
                break
            before.append(at)
        else:
            break
        front += before
        place, module = at, child
    if not any(True for name in front for _ in model.get_submodule(name).parameters()):
        return None
    return _Cut(tuple(front), place)


def _is_chain(model: nn.Module, cut: _Cut, reached: torch.Tensor, answer: torch.Tensor) -> bool:
    """Whether the front makes nothing else for the rest of the model than what reached the seam."""
    try:
        with _skipped(model, cut.front):
            return torch.equal(model(reached), answer)
    except Exception:
        # Whatever a model does with an input that is none of its images, it is no chain.
        return False


@contextmanager
def _skipped(model: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Within, these modules hand on what they are given."""
    skipped = []
    try:
        for name in names:
            place, _, child = name.rpartition(".")
            parent = model.get_submodule(place)
            skipped.append((parent, child, getattr(parent, child)))
            setattr(parent, child, nn.Identity())
        yield
    finally:
        for parent, child, module in skipped:
            setattr(parent, child, module)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
