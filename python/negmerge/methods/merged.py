"""Negation of a merged vector: the candidate that all methods which merge checkpoints share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

import negmerge_ext

from ..checkpoint import load_weights
from ..compute import CPU
from ..console import Reporter
from ..keys import content_key
from .interface import Candidate, Checkpoint, Context, Method, Written


class MergedVector(Candidate):
    """The base minus coefficient × the merged vector of some fine-tuned checkpoints.

    Files are merged straight from disk. For the search the merged vector becomes a patch, so that one more
    coefficient costs a sparse write and an evaluation, and reads no checkpoint. With ``keep_patch`` the patch
    goes to a file and stays in the run's folder, otherwise it lives in memory during the search. If the pool
    was merged online, the patch is there, and files are not.
    """

    scaled = True

    def __init__(
        self,
        context: Context,
        merge_method: str,
        finetuned: Sequence[Checkpoint],
        *,
        name: str,
        title: str,
        keep_patch: bool,
    ) -> None:
        self.name = name
        self.title = title
        self.key = content_key(merge_method, context.base.key, [checkpoint.key for checkpoint in finetuned])
        self._context = context
        self._merge_method = merge_method
        self._finetuned = [checkpoint.path for checkpoint in finetuned]
        self._training_seconds = sum(checkpoint.seconds for checkpoint in finetuned)
        self._patch = context.folder.patch(name) if keep_patch else None
        self._merged = None if context.online is None else context.online.patches[merge_method]

    def prepare(self, reporter: Reporter) -> float:
        """Nothing is left to train: the pool is there."""
        return self._training_seconds

    @contextmanager
    def opened(self) -> Iterator[Callable[[float], nn.Module]]:
        patch = self._merge() if self._merged is None else negmerge_ext.Patch.load(self._merged)
        model = self.load(self._context.base.path)
        # Patched in main memory, which takes no CUDA module of negmerge_ext, and asked on the device: a patch
        # knows a model by its memory, and one that is moved has other memory.
        device = self._context.compute.device
        asked = model if device == CPU.device else self.load(self._context.base.path).to(device)

        def at(coefficient: float) -> nn.Module:
            patch.apply(model, scale=coefficient, mode="negate")
            if asked is not model:
                asked.load_state_dict(model.state_dict())
            return asked

        yield at

    def write(self, coefficient: float, out: Path) -> Written:
        base = self._context.base.path
        if self._merged is None:
            report = negmerge_ext.merge(
                base,
                self._finetuned,
                out=out,
                method=self._merge_method,
                scale=coefficient,
                mode="negate",
                overwrite=True,
            )
        else:
            patch = negmerge_ext.Patch.load(self._merged)
            report = patch.apply_to_file(base, out, scale=coefficient, mode="negate", overwrite=True)
        return Written(kept=report.kept, elements=report.model_elements)

    def load(self, path: Path) -> nn.Module:
        return load_weights(self._context.build_tuned(), path)

    def _merge(self) -> negmerge_ext.Patch:
        if self._patch is not None:
            self._patch.parent.mkdir(parents=True, exist_ok=True)
        return negmerge_ext.Patch.make(
            self._context.base.path,
            self._finetuned,
            method=self._merge_method,
            out=self._patch,
            overwrite=self._patch is not None,
        )


def of_whole_pool(name: str, title: str, merge_method: str, *, keeps_zeros: bool = False) -> Method:
    """The method whose one candidate is what ``merge_method`` of ``negmerge_ext`` makes of the whole pool."""

    def candidates(context: Context) -> Sequence[Candidate]:
        return [MergedVector(context, merge_method, context.pool, name=name, title=title, keep_patch=True)]

    return Method(title, candidates, merges=(merge_method,), keeps_zeros=keeps_zeros)
