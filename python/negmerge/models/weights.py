"""Weights to begin with, from a checkpoint."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import RecipeError
from ..file_checksum import add_file
from ..registry import suggestion

if TYPE_CHECKING:
    from ..recipe import Model

_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
#: Wrappers of networks, whose names stand before those of tensors in checkpoints that were made of them.
_PREFIXES = ("module.", "network.")
#: What training programs call the weights in a checkpoint that holds more than these.
_WITHIN = ("state_dict", "model", "model_state_dict")


def checkpoint_path(spec: Model) -> Path | None:
    """The file or folder that ``model.pretrained`` names, if it names one; it has to be there."""
    if spec.pretrained is None:
        return None
    path = Path(spec.pretrained).expanduser()
    if path.suffix not in _SUFFIXES and "/" not in spec.pretrained:
        return None
    if not path.exists():
        raise RecipeError("is not there", path=path, remedy="Correct model.pretrained")
    return path


def pretrained_key(spec: Model) -> str | None:
    """What tells the weights that ``model.pretrained`` stands for from others: checksum, or name."""
    path = checkpoint_path(spec)
    if path is None:
        return spec.pretrained
    digest = hashlib.sha256()
    # A folder's files are told apart by their names; a single file may have any.
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.is_file():
            if path.is_dir():
                digest.update(file.name.encode())
            add_file(digest, file)
    return digest.hexdigest()


def load_pretrained(network: nn.Module, spec: Model) -> bool:
    """Give ``network`` the weights of the checkpoint that ``model.pretrained`` names, if it names one.

    Return whether it does. The last layer may have been made for other classes; then ``network`` keeps its
    own. Raises :class:`~negmerge.errors.RecipeError` if the checkpoint cannot be read, or is of another
    network.
    """
    path = checkpoint_path(spec)
    if path is None:
        return False
    weights = read_weights(path)
    own = network.state_dict()
    unknown, absent = sorted(weights.keys() - own.keys()), sorted(own.keys() - weights.keys())
    if unknown or absent:
        raise RecipeError(
            f"is not a checkpoint of {spec.name}: "
            + (f"it has {_named(unknown, own)}" if unknown else f"it lacks {_named(absent, weights)}"),
            path=path,
        )
    fitting = {name: tensor for name, tensor in weights.items() if tensor.shape == own[name].shape}
    for name in (name for name in own if name not in fitting):
        if weights[name].shape[1:] != own[name].shape[1:] or not _is_last(name, own):
            raise RecipeError(
                f"has {name} of shape {list(weights[name].shape)}, where {spec.name} has "
                f"{list(own[name].shape)}",
                path=path,
            )
    network.load_state_dict({**own, **fitting})
    return True


def load_checkpoint(network: nn.Module, spec: Model) -> None:
    """The same for an architecture that knows weights by no name: ``model.pretrained`` is a checkpoint, if it
    is given.
    """
    if not load_pretrained(network, spec) and spec.pretrained is not None:
        raise unknown_pretrained(spec, None)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a checkpoint, without the names of wrappers before theirs."""
    found: Any
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # of the age or the youth of a pickle, which is read or refused
                found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as problem:
        raise RecipeError(f"is no readable checkpoint: {problem}", path=path) from problem
    for name in _WITHIN:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise RecipeError("holds something else than tensors by name", path=path)
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in found):
            found = {
                name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
            }
    weights: dict[str, torch.Tensor] = found
    return weights


def unknown_pretrained(spec: Model, known: str | None) -> RecipeError:
    """The error for a ``model.pretrained`` that is no checkpoint and means nothing to the architecture.

    known: what would mean something.
    """
    return RecipeError(
        f"model.pretrained {spec.pretrained!r} means nothing to {spec.name}: give "
        f"{'' if known is None else known + ' or '}a checkpoint ({', '.join(_SUFFIXES)})"
    )


def _is_last(name: str, own: dict[str, torch.Tensor]) -> bool:
    """Whether a tensor is of the last layer, by the order of names."""
    return name.rpartition(".")[0] == list(own)[-1].rpartition(".")[0]


def _named(names: list[str], known: dict[str, torch.Tensor]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}{suggestion(names[0], known, most=3)}"
