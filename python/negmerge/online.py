"""Merging a pool while it is fine-tuned, so that none of its checkpoints is kept.

Every finished member is added to an accumulator per merge method, in the order of the pool, and its file is
removed. A sum lost is a pool lost, so the accumulators are saved after every member: a killed run goes on
with what was merged, and comes to the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import negmerge_ext

from .agreement import Agreement, agreement_key
from .declared import as_declared
from .errors import RecipeError
from .file_checksum import sha256_of
from .keys import content_key
from .methods.interface import Checkpoint, OnlinePool
from .recipe import ChosenMethod
from .results import Member
from .run_folder import RunFolder
from .stage import finished

#: The method of ``negmerge_ext`` whose statistics tell how far the pool agrees.
_CONSENSUS = "negmerge"


def merges_of(methods: Sequence[ChosenMethod]) -> list[str]:
    """The methods of ``negmerge_ext`` that a recipe's methods merge the whole pool by.

    Raises :class:`~negmerge.errors.RecipeError` if one of them needs the checkpoints themselves.
    """
    merges: list[str] = []
    for chosen in methods:
        needed = chosen.method.merges
        if needed is None:
            raise RecipeError(
                f"method {chosen.called} needs the checkpoints of the pool, and a run that merges "
                "online keeps none",
                remedy="Leave it out of the recipe's methods, or run without --online",
            )
        merges += (one for one in needed if one not in merges)
    return merges


@dataclass(frozen=True, slots=True)
class _State:
    """keys, members: of what was merged, in order. patches: once no member can be added any more, the SHA-256
    of what all of them gave, by merge method; empty before.
    """

    keys: list[str]
    members: list[Member]
    patches: dict[str, str]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> _State:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**plain, "members": [Member.from_dict(member) for member in plain["members"]]})


def require_online(keys: Sequence[str], folder: RunFolder) -> None:
    """Raise :class:`~negmerge.errors.RecipeError` if members of a pool that is to be kept were merged online
    and dropped, by whatever methods: going on would fine-tune them again.

    keys: of the pool's members.
    """
    recorded = folder.online.recorded()
    try:
        merged = [] if recorded is None else as_declared(_State.from_dict, recorded).keys
    except ValueError:  # a damaged record
        return
    gone = [
        number
        for number, (key, before) in enumerate(zip(keys, merged, strict=False))
        if key == before and folder.member(number).finished(key) is None
    ]
    if gone:
        raise RecipeError(
            f"{len(gone)} of {len(keys)} fine-tunings were merged online, and their checkpoints not kept",
            path=folder.root,
            remedy="Go on with --online and the methods of then; or remove the folder online/ in it, to "
            "fine-tune them again",
        )


class OnlineMerging:
    """The merges of one pool, in the folder of its run."""

    def __init__(self, base: Checkpoint, merges: Sequence[str], folder: RunFolder) -> None:
        self._base = base
        self._merges = merges
        self._folder = folder
        self._key = content_key("online", base.key, base.sha256, list(merges))
        self._keys: list[str] = []
        self._members: list[Member] = []
        self._patches: dict[str, str] = {}

    def dropped(self, keys: Sequence[str]) -> list[Member]:
        """The first members of a pool with these keys, if they were merged earlier."""
        found = finished(self._folder.online, self._key, _State.from_dict)
        if found is not None:
            merged = found.keys
            same = merged == list(keys if found.patches else keys[: len(merged)])
            if same and self._all_there(len(merged), found.patches):
                self._keys, self._members, self._patches = merged, found.members, found.patches
        for number in range(len(self._keys)):
            self._folder.member(number).remove()  # a kill came between saving the sums and this
        return list(self._members)

    def merge(self, checkpoint: Checkpoint, member: Member) -> None:
        """Add the next member of the pool and save what there is."""
        for accumulator in self._accumulators.values():
            accumulator.add(checkpoint.path)
        self._keys.append(checkpoint.key)
        self._members.append(member)
        for method, accumulator in self._accumulators.items():
            path = self._folder.unfinished_merge(_file_name(method), len(self._keys))
            path.parent.mkdir(parents=True, exist_ok=True)
            accumulator.save(path, overwrite=True)
        self._record()
        self._remove_sums_except(len(self._keys))

    def finish(self) -> tuple[OnlinePool, Agreement | None]:
        """Patches of all members, and how far these agree if one of the merges is by sign consensus."""
        pool = [Checkpoint(self._folder.member(n).file, key, 0.0) for n, key in enumerate(self._keys)]
        artefact, key = self._folder.agreement, agreement_key(self._base, pool)
        if not self._patches:
            for method, accumulator in self._accumulators.items():
                patch = self._folder.patch(_file_name(method))
                patch.parent.mkdir(parents=True, exist_ok=True)
                accumulator.patch().save(patch, overwrite=True)
            if _CONSENSUS in self._accumulators and finished(artefact, key, Agreement.from_dict) is None:
                report = self._accumulators[_CONSENSUS].stats()
                found = Agreement.of(report.models, report.model_elements, report.merged)
                artefact.begin()
                artefact.finish(key, asdict(found))
            self._patches = {method: sha256_of([path]) for method, path in self._patch_files.items()}
            self._record()
            self._remove_sums_except(0)
        return OnlinePool(self._patch_files), finished(artefact, key, Agreement.from_dict)

    @property
    def _patch_files(self) -> dict[str, Path]:
        return {method: self._folder.patch(_file_name(method)) for method in self._merges}

    @cached_property
    def _accumulators(self) -> dict[str, negmerge_ext.Accumulator]:
        """New, or as they were saved after the last member."""
        if not self._keys:
            return {method: negmerge_ext.Accumulator(self._base.path, method) for method in self._merges}
        return {
            method: negmerge_ext.Accumulator.load(
                self._folder.unfinished_merge(_file_name(method), len(self._keys)), self._base.path
            )
            for method in self._merges
        }

    def _all_there(self, models: int, patches: dict[str, str]) -> bool:
        """Whether what ``models`` members were merged into has its files.

        A run that keeps its pool writes patches of the same names, which are to be told from these.
        """
        if patches:
            return all(
                path.exists() and sha256_of([path]) == patches.get(method)
                for method, path in self._patch_files.items()
            )
        return all(
            self._folder.unfinished_merge(_file_name(method), models).exists() for method in self._merges
        )

    def _record(self) -> None:
        self._folder.online.record.parent.mkdir(parents=True, exist_ok=True)
        self._folder.online.finish(self._key, asdict(_State(self._keys, self._members, self._patches)))

    def _remove_sums_except(self, models: int) -> None:
        keep = {self._folder.unfinished_merge(_file_name(method), models) for method in self._merges}
        for path in self._folder.online.record.parent.glob("*.safetensors"):
            if path not in keep:
                path.unlink()


def _file_name(method: str) -> str:
    """A method of ``negmerge_ext``, which may have parameters, as a part of a file's name."""
    return method.replace(":", "-").replace(",", "-")
