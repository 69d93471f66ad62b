"""A checkpoint as the planner sees it, wherever it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from .errors import InputError


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's dtype (safetensors name) and shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


class Unfit(NamedTuple):
    """Why an entry of a state dict cannot be merged; ``tensor``: whether it is a tensor at all."""

    kind: type[InputError]
    message: str
    remedy: str
    tensor: bool = True


RowsT = TypeVar("RowsT", covariant=True)


class Source(Protocol[RowsT]):
    """A checkpoint as the planner sees it: names and metadata, in stored order.

    ``label`` is how errors name it. ``rows(names)`` gives whatever an engine needs to reach the data of
    those tensors; the planner passes it on unseen. ``unfit`` has the entries that are no tensors, or none
    that can be read, and that are not among ``tensors``.
    """

    @property
    def label(self) -> str: ...
    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...
    @property
    def unfit(self) -> Mapping[str, Unfit]: ...
    def rows(self, names: Sequence[str]) -> RowsT: ...
