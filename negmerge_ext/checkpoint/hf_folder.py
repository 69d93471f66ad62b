"""Folders as Hugging Face libraries save models: weights in one file or in shards, and what goes with them.

Which files hold the weights: the first of these that the folder has.

1. ``model.safetensors.index.json`` or ``model.safetensors``,
2. the same with ``diffusion_pytorch_model`` for ``model``,
3. ``pytorch_model.bin.index.json`` or ``pytorch_model.bin``, then ``diffusion_pytorch_model.bin`` likewise,
4. the only ``*.safetensors`` file.

An index names its shards by bare file names. A name with a folder in it, absolute or relative, is refused,
so that an index cannot reach outside; symbolic links to weights are followed. Where a single file stands
beside an index, the index must list it: otherwise which one counts is unclear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, NegmergeError, each_problem, raise_problems, shortened
from .base import Checkpoint, StoredTensor, TensorFile
from .companions import companions
from .files import read_whole
from .formats import read_tensor_file
from .strict_json import parse_object

_WEIGHTS = (
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
)
_INDEX = ".index.json"

#: Longest index that is read, in bytes; real ones stay far below.
_MAX_INDEX = 100_000_000

#: File names after which a listing is cut short.
_LISTED = 20


def open_folder(folder: Path) -> Checkpoint:
    """The model in ``folder``, found by the rules of this module.

    Raises :class:`~negmerge_ext.errors.CheckpointError` for a folder without weights, for files that
    cannot be read, and wherever index and shards do not say the same; several problems come together.
    """
    names = _entries(folder)
    weights = _weights(folder, names)
    if not weights.endswith(_INDEX):
        _, content = read_tensor_file(folder / weights)
        return _checkpoint(folder, names, [content], None)
    index = _read_index(folder / weights)
    weight_map = _weight_map(folder / weights, index)
    shards = sorted(set(weight_map.values()))
    single = weights.removesuffix(_INDEX)
    if single in names and single not in shards:
        raise CheckpointError(
            f"has {single} and {weights}, which does not list it; they may be two versions of the model",
            path=folder,
            remedy="Remove the one that is not meant, or give the path of the single file",
        )
    contents, problems = _read_shards(folder, shards)
    raise_problems(problems)
    raise_problems(shortened(_disagreements(folder, shards, contents, weight_map), folder))
    metadata = index.get("metadata")
    return _checkpoint(folder, names, contents, metadata if isinstance(metadata, dict) else {})


def weights_names(folder: Path) -> set[str]:
    """What the weights in ``folder`` may be called: as this module says, and as an index there lists."""
    names: set[str] = set()
    for name in _WEIGHTS:
        names |= {name, name + _INDEX}
        try:
            weight_map = _weight_map(folder / (name + _INDEX), _read_index(folder / (name + _INDEX)))
        except CheckpointError:
            continue  # there is none, or it tells nothing
        names.update(shard for shard in weight_map.values() if shard.endswith((".safetensors", ".bin")))
    return names


def _checkpoint(
    folder: Path, names: list[str], contents: list[TensorFile], index_metadata: Mapping[str, object] | None
) -> Checkpoint:
    tensors: dict[str, StoredTensor] = {}
    for content in contents:
        tensors.update(content.tensors)
    return Checkpoint(
        path=folder,
        format="hf_folder",
        files=tuple(content.file for content in contents),
        tensors=tensors,
        metadata=tuple(content.metadata for content in contents),
        index_metadata=index_metadata,
        companions=companions(folder, names),
    )


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as problem:
        raise CheckpointError(f"cannot be listed: {problem.strerror}", path=folder) from problem


def _weights(folder: Path, names: list[str]) -> str:
    """The name of the file or index that holds the weights."""
    for name in _WEIGHTS:
        for found in (name + _INDEX, name):
            if found in names:
                return found
    candidates = [name for name in names if name.endswith(".safetensors") and not name.startswith(".")]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        fault = f"has several safetensors files and no {_WEIGHTS[0] + _INDEX}: {_listing(candidates)}"
        raise CheckpointError(fault, path=folder, remedy="Give the path of one file, or add the index")
    seen = f"it has {_listing(names)}" if names else "it is empty"
    raise CheckpointError(
        f"holds no weights under a known name; {seen}",
        path=folder,
        remedy=f"Give a folder with {' or '.join(_WEIGHTS[:3])} (or their indexes), or the path of a file",
    )


def _read_index(path: Path) -> dict[str, Any]:
    text = read_whole(path, most=_MAX_INDEX, kind="an index")
    try:
        return parse_object(text)
    except ValueError as problem:
        raise CheckpointError(f"index {problem}", path=path, remedy="Download or save it again") from None


def _weight_map(path: Path, index: Mapping[str, Any]) -> dict[str, str]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("index has no weight_map", path=path, remedy="Download or save it again")
    wrong = {str(shard): name for name, shard in weight_map.items() if not _is_bare_name(shard)}
    raise_problems(
        shortened(
            (
                CheckpointError(
                    f"index places it in {shard!r}, which is not the bare name of a file in this folder",
                    path=path,
                    tensor=name,
                    remedy="Do not trust this folder, or mend its index",
                )
                for shard, name in wrong.items()
            ),
            path,
        )
    )
    return weight_map


def _is_bare_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and value not in ("", ".", "..")
        and not any(character in value for character in "/\\\0")
    )


def _read_shards(folder: Path, shards: list[str]) -> tuple[list[TensorFile], list[NegmergeError]]:
    contents: list[TensorFile] = []
    problems: list[NegmergeError] = []
    for position, shard in enumerate(shards):
        try:
            _, content = read_tensor_file(folder / shard, position)
            contents.append(content)
        except NegmergeError as problem:
            problems.extend(each_problem(problem))
    return contents, problems


def _disagreements(
    folder: Path, shards: list[str], contents: list[TensorFile], weight_map: Mapping[str, str]
) -> Iterator[NegmergeError]:
    """Where the index and the shards' own headers do not say the same."""
    holders: dict[str, list[str]] = {}
    for shard, content in zip(shards, contents, strict=True):
        for name in content.tensors:
            holders.setdefault(name, []).append(shard)
    for name, found in holders.items():
        if len(found) > 1:
            fault = f"is in several shards: {_listing(found)}"
        elif name not in weight_map:
            fault = f"is in {found[0]}, but the index does not list it"
        elif weight_map[name] != found[0]:
            fault = f"is in {found[0]}, but the index says {weight_map[name]}"
        else:
            continue
        yield CheckpointError(fault, path=folder, tensor=name, remedy=_REBUILD)
    for name, shard in weight_map.items():
        if name not in holders:
            yield CheckpointError(
                f"is listed in the index under {shard}, but not there",
                path=folder,
                tensor=name,
                remedy=_REBUILD,
            )


_REBUILD = "Download or save the folder again; index and shards are of different versions"


def _listing(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
