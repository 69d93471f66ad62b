"""What all models of a run compute alike before anything that fine-tuning changes: computed once per image.

Fine-tuning that freezes the first layers of a model leaves them in every checkpoint as they are in the base,
and so does whatever is merged of these. A search asks hundreds of such models about the same images.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

#: Bytes of activations that are kept; images beyond them pass through the whole model every time.
_ROOM = 1 << 30

#: What a model says of a batch: called with the name of the batch, and with what makes its pixels, if they
#: are needed.
Answering = Callable[[Hashable, Callable[[], torch.Tensor]], torch.Tensor]


@dataclass(frozen=True, slots=True)
class _Cut:
    """front: names of the modules that are called before anything trained. seam: of the one called next."""

    front: tuple[str, ...]
    seam: str


class FrozenFront:
    """The frozen modules at the front of a model, and the activations that they made of images.

    frozen: names of parameters that most models share. A model whose front has other weights than the first
    one asked, or the one expected, passes through as a whole, and so does one that is no chain of modules up
    to the first trained one: answers are the same to the bit. Activations lie on the device of the models.
    To be used by one thread.
    """

    def __init__(self, frozen: Collection[str]) -> None:
        self._frozen = frozenset(frozen)
        self._expected: list[torch.Tensor] | None = None
        self._are_chains: dict[type[nn.Module], bool] = {}
        # By kind of model, which may compute the same front in another way, and batch.
        self._activations: dict[tuple[type[nn.Module], Hashable], torch.Tensor] = {}
        self._room = _ROOM

    def expect(self, model: nn.Module) -> None:
        """Models with the front of ``model`` are to come, on its device. Before any is asked."""
        cut = _cut(model, self._frozen)
        if cut is not None:
            self._expected = [one.detach().clone() for one in _state(model, cut)]

    def through(self, model: nn.Module) -> Answering:
        """How to ask ``model``, which is in eval mode and on its device, without gradients."""
        cut = _cut(model, self._frozen) if self._are_chains.get(type(model), True) else None
        if cut is None or not self._has_front(model, cut):
            return lambda _, pixels: model(pixels())
        return lambda batch, pixels: self._answer(model, cut, batch, pixels)

    def _has_front(self, model: nn.Module, cut: _Cut) -> bool:
        if self._expected is None:
            self.expect(model)
        state, expected = list(_state(model, cut)), self._expected or []
        return len(state) == len(expected) and all(map(torch.equal, state, expected))

    def _answer(
        self, model: nn.Module, cut: _Cut, batch: Hashable, pixels: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        answer: torch.Tensor
        kind = type(model)
        activations = self._activations.get((kind, batch))
        if activations is not None:
            with _skipped(model, cut.front):
                # A copy: later layers may write into their input.
                answer = model(activations.clone())
            return answer
        if self._room <= 0 or not self._are_chains.get(kind, True):
            answer = model(pixels())
            return answer
        answer, activations = _answer_and_activations(model, cut, pixels())
        if kind not in self._are_chains:
            self._are_chains[kind] = activations is not None and _is_chain(model, cut, pixels())
        if activations is not None and self._are_chains[kind]:
            self._room -= activations.nbytes
            if self._room >= 0:
                self._activations[kind, batch] = activations
        return answer


def _state(model: nn.Module, cut: _Cut) -> Iterator[torch.Tensor]:
    for name in cut.front:
        module = model.get_submodule(name)
        yield from module.parameters()
        yield from module.buffers()


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


def _answer_and_activations(
    model: nn.Module, cut: _Cut, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What ``model`` says, and a copy of what reached the seam, if that is one tensor."""
    reached: list[torch.Tensor | None] = []

    def keep(_: nn.Module, inputs: Sequence[object]) -> None:
        one = inputs[0] if len(inputs) == 1 else None
        reached.append(one.clone() if isinstance(one, torch.Tensor) else None)

    hook = model.get_submodule(cut.seam).register_forward_pre_hook(keep)
    try:
        answer: torch.Tensor = model(pixels)
    finally:
        hook.remove()
    return answer, reached[0] if len(reached) == 1 else None


@torch.no_grad()
def _is_chain(model: nn.Module, cut: _Cut, pixels: torch.Tensor) -> bool:
    """Whether the front makes nothing else for the rest of the model than what reaches the seam.

    Asked of a copy with other weights behind the front: a path around it may have weights of zero that are
    trained later.
    """
    try:
        changed = copy.deepcopy(model)
        held = {id(one) for one in _state(changed, cut)}
        generator = torch.Generator().manual_seed(0)
        for one in changed.parameters():
            if id(one) not in held:
                noise = torch.randn(one.shape, generator=generator).to(one)
                one.add_(noise * (0.1 * one.std(correction=0) + 0.01))
        answer, activations = _answer_and_activations(changed, cut, pixels)
        if activations is None:
            return False
        with _skipped(changed, cut.front):
            return torch.equal(changed(activations), answer)
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
