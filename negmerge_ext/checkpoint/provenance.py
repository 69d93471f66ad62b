"""Where a merged checkpoint comes from: what is recorded in its metadata, and digests to compare merges by.

What is recorded depends on the options and on the inputs' names, sizes and tensors only, so that the same
merge gives the same bytes everywhere and at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import __version__
from ..plan import Plan
from .base import FileRows

PREFIX = "negmerge."
DIGEST = PREFIX + "digest"


class Sized(Protocol):
    """Rows of an input that know how many bytes the input has."""

    @property
    def nbytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class InputIdentity:
    """An input as it is recorded: the last part of its path (or its label), and its size in bytes."""

    name: str
    size: int


def input_identities(plan: Plan[Sized], labels: Sequence[str]) -> list[InputIdentity]:
    """Identities of a plan's inputs, base first; ``labels``: their paths, or what else they are called.

    The size of an input on disk is that of its weights files, in memory that of the tensors in the plan.
    """
    names = (Path(os.path.abspath(label)).name for label in labels)  # noqa: PTH100 - keeps symbolic links
    return [
        InputIdentity(name, rows.nbytes)
        for name, rows in zip(names, (plan.base, *plan.finetuned), strict=True)
    ]


def provenance(plan: Plan[object], inputs: Sequence[InputIdentity]) -> dict[str, str]:
    """The ``negmerge.*`` entries of a safetensors ``__metadata__``; ``inputs`` are base, then fine-tuned."""
    base, *finetuned = inputs
    options = plan.options
    entries = {
        "version": __version__,
        "method": str(options.method),
        "mode": options.mode,
        "scale": repr(options.scale),
        "models": str(plan.models),
        "base": _json([base.name, base.size]),
        "finetuned": _json([[model.name, model.size] for model in finetuned]),
    }
    digest = hashlib.sha256(_json(entries).encode())
    for tensor in plan.tensors:
        row = [tensor.name, list(tensor.shape), tensor.dtype, tensor.out_dtype, tensor.compute]
        digest.update(_json(row).encode())
    digest.update(np.ascontiguousarray(plan.finetuned_dtypes).data)
    entries["digest"] = digest.hexdigest()
    return {PREFIX + key: value for key, value in entries.items()}


def identity(plan: Plan[object], recorded: dict[str, str]) -> str | None:
    """A digest of the merge and of its input files as they are now; ``None`` if an input is in memory."""
    digest = hashlib.sha256(recorded[DIGEST].encode())
    for rows in (plan.base, *plan.finetuned):
        if not isinstance(rows, FileRows):
            return None
        # No device number: many file systems get another one whenever they are mounted.
        files = [[file.size, file.mtime_ns, file.ctime_ns, file.inode] for file in rows.files]
        strides = [[index, list(steps)] for index, steps in rows.strides.items()]
        digest.update(_json([files, strides]).encode())
        digest.update(np.ascontiguousarray(rows.file).data)
        digest.update(np.ascontiguousarray(rows.offset).data)
    return digest.hexdigest()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
