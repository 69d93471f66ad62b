"""Negation of a merged vector: the candidate that all methods which merge checkpoints share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from torch import nn

import negmerge_ext

from ..checkpoint import load_weights
from ..console import Reporter
from ..keys import content_key
from .interface import Candidate, Checkpoint, Context, Written


class MergedVector(Candidate):
    """The base minus coefficient × the merged vector of some fine-tuned checkpoints.

    Files are merged straight from disk. For the search the merged vector becomes a patch, so that one more
    coefficient costs a sparse write and an evaluation, and reads no checkpoint. With ``keep_patch`` the patch
    goes to a file and stays in the run's folder, otherwise it lives in memory during the search.
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

    def prepare(self, reporter: Reporter) -> float:
        """Nothing is left to train: the pool is there."""
        return self._training_seconds

    @contextmanager
    def opened(self) -> Iterator[Callable[[float], nn.Module]]:
        if self._patch is not None:
            self._patch.parent.mkdir(parents=True, exist_ok=True)
        base = self._context.base.path
        patch = negmerge_ext.Patch.make(
            base,
            self._finetuned,
            method=self._merge_method,
            out=self._patch,
            overwrite=self._patch is not None,
        )
        model = self.load(base)

        def at(coefficient: float) -> nn.Module:
            patch.apply(model, scale=coefficient, mode="negate")
            return model

        yield at

    def write(self, coefficient: float, out: Path) -> Written:
        report = negmerge_ext.merge(
            self._context.base.path,
            self._finetuned,
            out=out,
            method=self._merge_method,
            scale=coefficient,
            mode="negate",
            overwrite=True,
        )
        return Written(kept=report.kept, elements=report.model_elements)

    def load(self, path: Path) -> nn.Module:
        return load_weights(self._context.build_model(), path)
