"""How far the pool agrees on signs, tensor by tensor: a stage of a run, as the pool need not be kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import negmerge_ext
from negmerge_ext import TensorStats

from .console import Reporter
from .keys import content_key
from .methods.interface import Checkpoint
from .run_folder import RunFolder
from .stage import finished


@dataclass(frozen=True, slots=True)
class TensorAgreement:
    """Sign agreement in one merged tensor.

    kept: elements with sign consensus, of ``elements``. agreement[h]: elements whose larger sign camp has h
    of the N models, h = 0…N (exact zeros and NaN are in neither camp); ``None`` where the models were merged
    one at a time and not kept.
    """

    name: str
    elements: int
    kept: int
    agreement: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Sign agreement of a pool of ``models``; model_elements counts merged and other elements of the base."""

    models: int
    model_elements: int
    tensors: tuple[TensorAgreement, ...]

    @property
    def elements(self) -> int:
        """Elements of the merged tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def kept(self) -> int:
        """Elements with sign consensus."""
        return sum(tensor.kept for tensor in self.tensors)

    @property
    def histogram(self) -> tuple[int, ...] | None:
        """Elements of all merged tensors by the size of their larger sign camp, 0…N."""
        rows = [tensor.agreement for tensor in self.tensors if tensor.agreement is not None]
        return tuple(map(sum, zip(*rows, strict=True))) if len(rows) == len(self.tensors) else None

    @classmethod
    def of(cls, models: int, model_elements: int, tensors: Iterable[TensorStats]) -> Agreement:
        """What the statistics of a sign-consensual merge say."""
        rows = (TensorAgreement(one.name, one.elements, one.kept, one.agreement) for one in tensors)
        return cls(models, model_elements, tuple(rows))

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Agreement:
        """The inverse of :func:`dataclasses.asdict`."""
        tensors = (
            TensorAgreement(
                **{**row, "agreement": None if row["agreement"] is None else tuple(row["agreement"])}
            )
            for row in plain["tensors"]
        )
        return cls(**{**plain, "tensors": tuple(tensors)})


def agreement_key(base: Checkpoint, pool: Sequence[Checkpoint]) -> str:
    """Content key of the stage."""
    return content_key("agreement", base.key, [member.key for member in pool])


def pool_agreement(
    base: Checkpoint, pool: Sequence[Checkpoint], folder: RunFolder, reporter: Reporter
) -> Agreement:
    """Sign agreement of the checkpoints of the pool, unless the stage is finished; reads each once."""
    artefact, key = folder.agreement, agreement_key(base, pool)
    recorded = finished(artefact, key, Agreement.from_dict)
    if recorded is not None and recorded.histogram is not None:
        return recorded
    artefact.begin()
    with reporter.stage(f"Sign agreement of {len(pool)} checkpoints", 1) as stage:
        report = negmerge_ext.inspect(base.path, [member.path for member in pool], method="negmerge")
        stage.advance()
    found = Agreement.of(report.models, report.model_elements, report.merged)
    artefact.finish(key, asdict(found))
    return found
