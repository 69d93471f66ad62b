"""Merging a pool while it is fine-tuned, so that none of its checkpoints is kept.

Every finished member is added to an accumulator per merge method, in the order of the pool, and its file is
removed. A sum lost is a pool lost, so the accumulators are saved after every member: a killed run goes on
with what was merged, and comes to the same bits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import negmerge_ext

from .agreement import Agreement, agreement_key
from .declared import as_declared
from .errors import RecipeError
from .file_checksum import sha256_of
from .finetuning import member_checkpoint
from .keys import content_key
from .methods.interface import Checkpoint, OnlinePool
from .recipe import ChosenMethod
from .results import Member
from .run_folder import RunFolder
from .stage import finished

#: The method of ``negmerge_ext`` whose statistics tell how far the pool agrees.
_CONSENSUS = "negmerge"


def merges_of(methods: Sequence[ChosenMethod]) -> dict[str, str]:
    """The methods of ``negmerge_ext`` that a recipe's methods merge the whole pool by, and what the files of
    each are called.

    Raises :class:`~negmerge.errors.RecipeError` if one of them needs the checkpoints themselves.
    """
    merges: dict[str, str] = {}
    for chosen in methods:
        needed = chosen.method.merges
        if needed is None:
            raise RecipeError(
                f"method {chosen.called} needs the checkpoints of the pool, and a run that merges "
                "online keeps none",
                remedy="Leave it out of the recipe's methods, or run without --online",
            )
        for one in needed:
            merges.setdefault(one, chosen.called)
    return merges


@dataclass(frozen=True, slots=True)
class _State:
    """keys, members: of what was merged, in order. merges: by which methods, and what the files of each are
    called. patches: once no member can be added any more, the SHA-256 of what all of them gave, by merge
    method; empty before.
    """

    keys: list[str]
    members: list[Member]
    merges: dict[str, str]
    patches: dict[str, str]

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> _State:
        """The inverse of :func:`dataclasses.asdict`."""
        return cls(**{**plain, "members": [Member.from_dict(member) for member in plain["members"]]})


def require_online(keys: Sequence[str], merges: Mapping[str, str] | None, folder: RunFolder) -> None:
    """Raise :class:`~negmerge.errors.RecipeError` if members of a pool were merged online and dropped, and
    going on would fine-tune them again, as they are to be kept now, or merged by another method too.

    keys: of the pool's members. merges: the methods to merge them by, and what they are called; ``None``:
    they are to be kept.
    """
    if (state := _recorded(folder)) is None:
        return
    gone = [
        number
        for number, (key, before) in enumerate(zip(keys, state.keys, strict=False))
        if key == before and folder.member(number).finished(key) is None
    ]
    if not gone or (merges is not None and state.merges.keys() >= merges.keys()):
        return
    others = ""
    if merges is not None:
        missing = [called for method, called in merges.items() if method not in state.merges]
        others = f" by {', '.join(state.merges.values())}, and not by {', '.join(missing)}"
    raise RecipeError(
        f"{len(gone)} of {len(keys)} fine-tunings were merged online{others}, and their checkpoints not kept",
        path=folder.root,
        remedy="Go on with --online and the methods of then, or some of them; or remove the folder online/ "
        "in it, to fine-tune them again",
    )


def merged_online(keys: Sequence[str], merges: Collection[str], folder: RunFolder) -> int:
    """How many of the first members of a pool were merged online, by these methods at least."""
    state = _recorded(folder)
    if state is None or not state.merges.keys() >= set(merges):
        return 0
    return len(state.keys) if state.keys == list(keys[: len(state.keys)]) else 0


def _recorded(folder: RunFolder) -> _State | None:
    """What was merged online, of whatever base; ``None`` if nothing was, or the record is damaged."""
    recorded = folder.online.recorded()
    try:
        return None if recorded is None else as_declared(_State.from_dict, recorded)
    except ValueError:
        return None


class OnlineMerging:
    """The merges of one pool, in the folder of its run.

    merges: methods of ``negmerge_ext``, and what the files of each are called.
    """

    def __init__(self, base: Checkpoint, merges: Mapping[str, str], folder: RunFolder) -> None:
        self._base = base
        self._merges = dict(merges)
        self._folder = folder
        self._key = content_key("online", base.key, base.sha256)
        self._keys: list[str] = []
        self._members: list[Member] = []
        self._patches: dict[str, str] = {}

    def dropped(self, keys: Sequence[str]) -> list[Member]:
        """The first members of a pool with these keys, if they were merged earlier, by these methods at
        least.
        """
        found = finished(self._folder.online, self._key, _State.from_dict)
        if found is not None:
            merged = found.keys
            same = merged == list(keys if found.patches else keys[: len(merged)])
            if same and self._all_there(found):
                self._keys, self._members = merged, found.members
                self._patches = {one: found.patches[one] for one in self._merges if found.patches}
                self._merges = {one: found.merges[one] for one in self._merges}
        for number in range(len(self._keys)):
            self._folder.member(number).remove()  # a kill came between saving the sums and this
        return list(self._members)

    def merge(self, path: Path, key: str, member: Member) -> None:
        """Add the next member of the pool and save what there is."""
        for accumulator in self._accumulators.values():
            accumulator.add(path)
        self._keys.append(key)
        self._members.append(member)
        for method, accumulator in self._accumulators.items():
            path = self._unfinished(method)
            path.parent.mkdir(parents=True, exist_ok=True)
            accumulator.save(path, overwrite=True)
        self._record()
        self._remove_sums_except(len(self._keys))

    def finish(self) -> tuple[OnlinePool, Agreement | None]:
        """Patches of all members, and how far these agree if one of the merges is by sign consensus."""
        pool = [
            member_checkpoint(self._folder.member(number).file, key, member)
            for number, (key, member) in enumerate(zip(self._keys, self._members, strict=True))
        ]
        artefact, key = self._folder.agreement, agreement_key(self._base, pool)
        if not self._patches:
            for method, accumulator in self._accumulators.items():
                patch = self._patch_files[method]
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
        return {method: self._folder.patch(name) for method, name in self._merges.items()}

    @cached_property
    def _accumulators(self) -> dict[str, negmerge_ext.Accumulator]:
        """New, or as they were saved after the last member."""
        if not self._keys:
            return {method: negmerge_ext.Accumulator(self._base.path, method) for method in self._merges}
        return {
            method: negmerge_ext.Accumulator.load(self._unfinished(method), self._base.path)
            for method in self._merges
        }

    def _unfinished(self, method: str) -> Path:
        """Where the merge of what there is is saved."""
        return self._folder.unfinished_merge(self._merges[method], len(self._keys))

    def _all_there(self, found: _State) -> bool:
        """Whether what members were merged into has its files, by every method that is wanted.

        A run that keeps its pool writes patches of the same names, which are to be told from these.
        """
        names = {method: found.merges.get(method) for method in self._merges}
        for method, name in names.items():
            if name is None:
                return False
            patch = self._folder.patch(name)
            if found.patches:
                if not patch.exists() or sha256_of([patch]) != found.patches.get(method):
                    return False
            elif not self._folder.unfinished_merge(name, len(found.keys)).exists():
                return False
        return True

    def _record(self) -> None:
        self._folder.online.record.parent.mkdir(parents=True, exist_ok=True)
        state = _State(self._keys, self._members, self._merges, self._patches)
        self._folder.online.finish(self._key, asdict(state))

    def _remove_sums_except(self, models: int) -> None:
        keep = {self._folder.unfinished_merge(name, models) for name in self._merges.values()}
        for path in self._folder.online.record.parent.glob("*.safetensors"):
            if path not in keep:
                path.unlink()
