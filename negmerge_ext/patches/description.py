"""What a patch says about itself: where it comes from, and for each tensor what it holds and expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import dtypes
from ..checkpoint.provenance import InputIdentity
from ..errors import PatchMismatchError
from ..plan import Plan
from ..source import TensorInfo
from ..stats import TensorStats

#: Elements whose keep bits are handled together: tensors are cut at multiples of it.
PACK = 16


@dataclass(frozen=True, slots=True)
class PatchedTensor(TensorInfo):
    """One tensor of a patch.

    dtype, shape: of the base's tensor. compute: dtype of the merged vector's values (F32 or F64).
    fingerprint: SHA-256 of the base tensor's bytes, hexadecimal. stats: of the merged vector.
    """

    compute: str
    fingerprint: str
    stats: TensorStats

    @property
    def name(self) -> str:
        """The tensor's name in the base."""
        return self.stats.name

    @property
    def kept(self) -> int:
        """Elements that the merged vector holds."""
        return self.stats.kept

    @property
    def nbytes(self) -> int:
        """Bytes of the base's tensor."""
        return dtypes.nbytes(self.dtype, self.numel)

    @property
    def keep_nbytes(self) -> int:
        """Bytes of the keep bits."""
        return keep_nbytes(self.numel)

    @property
    def values_nbytes(self) -> int:
        """Bytes of the kept values."""
        return dtypes.nbytes(self.compute, self.kept)


@dataclass(frozen=True, slots=True)
class Description:
    """A patch without its data.

    method: with its parameters. base, finetuned: the checkpoints that the merged vector was made from.
    model_elements, model_nbytes: of all tensors of the base, patched or not. tensors: the patched ones, in
    the base's order.
    """

    method: str
    base: InputIdentity
    finetuned: tuple[InputIdentity, ...]
    model_elements: int
    model_nbytes: int
    tensors: tuple[PatchedTensor, ...]

    @property
    def models(self) -> int:
        """Number N of fine-tuned models."""
        return len(self.finetuned)

    def mismatches(self, tensors: Mapping[str, TensorInfo], label: str) -> Iterator[PatchMismatchError]:
        """What the patched tensors of another model, called ``label``, show already without their data."""
        for expected in self.tensors:
            found = tensors.get(expected.name)
            if found is None:
                fault = "is in the patch but not here"
            elif (found.dtype, found.shape) != (expected.dtype, expected.shape):
                fault = (
                    f"is {found.dtype} of shape {list(found.shape)}, and the patch was made for "
                    f"{expected.dtype} of shape {list(expected.shape)}"
                )
            else:
                continue
            remedy = "Give the base that the patch was made from"
            yield PatchMismatchError(fault, path=label, tensor=expected.name, remedy=remedy)


def describe(
    plan: Plan[Any],
    inputs: Sequence[InputIdentity],
    stats: Sequence[TensorStats],
    fingerprints: Sequence[str],
) -> Description:
    """The description of the patch that ``plan`` makes.

    inputs: the base, then the fine-tuned checkpoints. stats, fingerprints: of the merged tensors, in order.
    """
    base, *finetuned = inputs
    merged = (plan.tensors[index] for index in plan.merged)
    return Description(
        method=str(plan.options.method),
        base=base,
        finetuned=tuple(finetuned),
        model_elements=sum(tensor.numel for tensor in plan.tensors),
        model_nbytes=sum(dtypes.nbytes(tensor.dtype, tensor.numel) for tensor in plan.tensors),
        tensors=tuple(
            PatchedTensor(tensor.dtype, tensor.shape, str(tensor.compute), digest, row)
            for tensor, row, digest in zip(merged, stats, fingerprints, strict=True)
        ),
    )


def keep_nbytes(numel: int) -> int:
    """Bytes of the keep bits of ``numel`` elements: whole packs of 16."""
    return 2 * -(-numel // PACK)
