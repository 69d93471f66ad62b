"""The merged vector of a pool, stored sparsely: made once, then applied to its base with any scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import native
from .checkpoint.provenance import input_identities
from .engine.patch_applying import apply_to_path
from .engine.patch_making import make_file, make_in_memory
from .errors import OptionError
from .inputs import as_pool, labels_of, parse_settings, parse_threads, plan_models
from .methods import Method
from .options import Options
from .patches.description import Description, PatchedTensor
from .patches.in_place import InPlacePatch
from .patches.reader import read_patch_file
from .patches.sections import Sections, in_memory, segments
from .patches.writer import write_patch_file

if TYPE_CHECKING:
    from .inputs import Model, PathName, StateDict
    from .progress import Progress
    from .stats import MergeReport

#: Modes that a patch can be applied in.
_MODES = ("negate", "add")


class Patch:
    """The merged vector τ of a base and N fine-tuned models, as keep bits and kept values per tensor.

    ``patch.apply(model, scale)`` gives the base the same bits as ``merge(base, finetuned, scale=scale)``.
    A patch knows the SHA-256 of every tensor it was made for and refuses to change anything else. Make one
    with :meth:`make`, :meth:`load` or :meth:`negmerge_ext.Accumulator.patch`.

    >>> import torch, negmerge_ext
    >>> base = {"weight": torch.tensor([1.0, 1.0, 1.0])}
    >>> pool = [{"weight": torch.tensor([2.0, 2.0, 1.0])}, {"weight": torch.tensor([4.0, 0.0, 5.0])}]
    >>> patch = negmerge_ext.Patch.make(base, pool)
    >>> patch.apply(base, scale=0.5)
    >>> base
    {'weight': tensor([0., 1., 1.])}
    >>> patch.revert(base)
    >>> base
    {'weight': tensor([1., 1., 1.])}
    """

    def __init__(self, description: Description, sections: Sections) -> None:
        self._description = description
        self._sections = sections
        self._in_place: InPlacePatch | None = None

    @classmethod
    def make(
        cls,
        base: Model,
        finetuned: Sequence[Model],
        *,
        method: str | Method = "negmerge",
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        out: PathName | None = None,
        overwrite: bool = False,
        max_memory: int | str | None = None,
        threads: int | None = None,
        device: object = None,
        progress: bool | Progress = False,
    ) -> Patch:
        """Compute the merged vector of ``base`` and ``finetuned``.

        Takes and raises what :func:`negmerge_ext.merge` does. With ``out``, the vector goes straight to that
        file in memory bounded by ``max_memory``, whatever the model's size, and the patch returned reads
        from it; an existing file is replaced only with ``overwrite``.
        """
        options = Options.parse(method=method, mode="vector", include=include, exclude=exclude)
        settings = parse_settings(max_memory, threads, progress, device)
        models = as_pool(finetuned)
        _, plan = plan_models(base, models, options, settings.device)
        inputs = input_identities(plan, labels_of(base, models))
        if out is None:
            if overwrite:
                raise OptionError("overwrite needs a file to write", remedy="Give a path as out")
            return cls(*make_in_memory(plan, inputs, settings))
        make_file(plan, inputs, Path(out), settings, overwrite=overwrite)
        return cls.load(out)

    @classmethod
    def load(cls, path: PathName) -> Patch:
        """Open a patch file; its values are read when they are needed.

        Raises :class:`~negmerge_ext.errors.CheckpointError` for anything but a well-formed patch file whose
        keep bits match what it says about itself.
        """
        description, sections = read_patch_file(path)
        for _ in segments(description, sections):
            pass
        return cls(description, sections)

    def save(self, path: PathName, *, overwrite: bool = False) -> None:
        """Write the patch to a file, at once and durably.

        Raises :class:`~negmerge_ext.errors.OutputExistsError` if ``path`` exists and is not to be
        overwritten, :class:`~negmerge_ext.errors.OutputError` if it cannot be written.
        """
        write_patch_file(Path(path), self._description, self._sections, overwrite=overwrite)

    def apply(
        self, model: StateDict, scale: float = 1.0, mode: str = "negate", *, threads: int | None = None
    ) -> None:
        """Turn the base into the merged model, in place: θ₀ ∓ scale · τ where τ is kept.

        ``model`` is a state dict (torch, numpy) or module; only patched elements change, gradients are not
        recorded, tied tensors are written once. The first call compares the SHA-256 of every patched tensor,
        several tensors at a time, which takes several times as long as the rest, and remembers the base
        values of the kept elements. Later calls start from these: they set the scale, they do not add up,
        and take about as long as copying the model. A model is known by the memory of its tensors. That its
        patched elements were not changed by anybody else in between is checked; changes to other elements
        of an already patched model go unnoticed. After :meth:`revert` the next call is a first one again.
        Tensors on CUDA devices are patched there, and each call waits for that; the first one brings them to
        the CPU to compare them.

        Raises :class:`~negmerge_ext.errors.PatchMismatchError`, with the model as it was, if that is not
        the base of this patch; :class:`~negmerge_ext.errors.UnsupportedTensorError`,
        :class:`~negmerge_ext.errors.DeviceError` and :class:`~negmerge_ext.errors.TiedTensorError` for
        tensors that cannot be written. Interrupted by a signal, apply again or revert.
        """
        options = _options(scale, mode)
        self._applier().apply(model, options.scale, options.mode, _threads(threads))

    def revert(self, model: StateDict, *, threads: int | None = None) -> None:
        """Give a model that this patch is applied to the bits of the base back, and forget the model.

        Raises :class:`~negmerge_ext.errors.PatchMismatchError` if the patch is not applied to it, or if
        patched elements were changed since.
        """
        self._applier().revert(model, _threads(threads))

    def apply_to_file(
        self,
        base: PathName,
        out: PathName,
        *,
        scale: float = 1.0,
        mode: str = "negate",
        out_dtype: object = None,
        max_memory: int | str | None = None,
        threads: int | None = None,
        progress: bool | Progress = False,
        overwrite: bool = False,
    ) -> MergeReport:
        """Write the merged checkpoint to ``out`` from the base on disk, in bounded memory.

        The tensors written have the same bytes as those of :func:`negmerge_ext.merge` with ``out``, and so
        have sharding and companion files. Raises what ``merge`` raises about base and output, and
        :class:`~negmerge_ext.errors.PatchMismatchError` (nothing is left of the output then) if the
        base is not that of the patch.
        """
        options = _options(scale, mode, out_dtype)
        settings = parse_settings(max_memory, threads, progress)
        return apply_to_path(
            self._description, self._sections, Path(base), Path(out), options, settings, overwrite=overwrite
        )

    @property
    def method(self) -> str:
        """The merge method, with its parameters."""
        return self._description.method

    @property
    def models(self) -> int:
        """Number N of fine-tuned models that the patch was made from."""
        return self._description.models

    @property
    def tensors(self) -> tuple[PatchedTensor, ...]:
        """The patched tensors, in the base's order."""
        return self._description.tensors

    @property
    def elements(self) -> int:
        """Elements of the patched tensors."""
        return sum(tensor.numel for tensor in self.tensors)

    @property
    def kept(self) -> int:
        """Elements that the merged vector holds."""
        return sum(tensor.kept for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        """Bytes of keep bits and values."""
        return sum(tensor.keep_nbytes + tensor.values_nbytes for tensor in self.tensors)

    @property
    def model_nbytes(self) -> int:
        """Bytes of all tensors of the base, patched or not."""
        return self._description.model_nbytes

    def describe(self) -> dict[str, Any]:
        """Plain data for JSON: where the patch comes from, its totals and a row per tensor.

        Norms and magnitudes that are infinite or NaN are ``None``.
        """
        described = self._description
        return {
            "method": described.method,
            "models": described.models,
            "base": {"name": described.base.name, "bytes": described.base.size},
            "finetuned": [{"name": model.name, "bytes": model.size} for model in described.finetuned],
            "totals": {
                "elements": self.elements,
                "model_elements": described.model_elements,
                "kept": self.kept,
                "kept_fraction_of_patched_elements": _fraction(self.kept, self.elements),
                "kept_fraction_of_model_elements": _fraction(self.kept, described.model_elements),
                "patch_bytes": self.nbytes,
                "model_bytes": self.model_nbytes,
                "patch_fraction_of_model_bytes": _fraction(self.nbytes, self.model_nbytes),
            },
            "tensors": [
                {
                    "name": tensor.name,
                    "dtype": tensor.dtype,
                    "shape": list(tensor.shape),
                    "compute": tensor.compute,
                    "elements": tensor.numel,
                    "kept": tensor.kept,
                    "kept_fraction": _fraction(tensor.kept, tensor.numel),
                    "norm": _finite(tensor.stats.norm),
                    "max_abs": _finite(tensor.stats.max_abs),
                    "non_finite": tensor.stats.non_finite,
                    "patch_bytes": tensor.keep_nbytes + tensor.values_nbytes,
                    "base_sha256": tensor.fingerprint,
                }
                for tensor in self.tensors
            ],
        }

    def __repr__(self) -> str:
        return (
            f"<Patch: {self.method} of {self.models} models, {self.kept} of {self.elements} elements in "
            f"{len(self.tensors)} tensors>"
        )

    def _applier(self) -> InPlacePatch:
        if self._in_place is None:
            self._in_place = InPlacePatch(self._description, in_memory(self._description, self._sections))
        return self._in_place


def _options(scale: float, mode: str, out_dtype: object = None) -> Options:
    options = Options.parse(scale=scale, mode=mode, out_dtype=out_dtype)
    if options.mode not in _MODES:
        raise OptionError(
            f"a patch cannot be applied in mode {mode!r}", remedy=f"Use one of {', '.join(_MODES)}"
        )
    return options


def _threads(threads: int | None) -> int:
    return parse_threads(threads) or native.default_threads()


def _fraction(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
