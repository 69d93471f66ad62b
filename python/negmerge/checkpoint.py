"""Weights of a model to and from ``.safetensors`` files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from negmerge_ext.checkpoint import open_checkpoint
from negmerge_ext.engine.snapshot import snapshot
from negmerge_ext.errors import (
    MissingTensorError,
    NegmergeError,
    ShapeMismatchError,
    UnexpectedTensorError,
    raise_problems,
)

from .run_folder import appearing_complete


def save_weights(model: nn.Module, path: Path) -> None:
    """Write the state dict of ``model``."""
    weights = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    with appearing_complete(path) as unfinished:
        save_file(weights, unfinished, metadata={"format": "pt"})


def load_weights(model: nn.Module, path: Path) -> nn.Module:
    """Give ``model`` the weights of a file that has exactly its tensors; return it in eval mode."""
    model.load_state_dict(load_file(path))
    return model.eval()


def load_given(model: nn.Module, path: Path) -> nn.Module:
    """The same with a checkpoint of somebody else's, in any format that ``negmerge_ext`` reads.

    Raises :class:`~negmerge_ext.errors.CheckpointError` for what is no checkpoint, and
    :class:`~negmerge_ext.errors.InputError` with every tensor that does not fit.
    """
    given: dict[str, torch.Tensor] = dict(snapshot(open_checkpoint(path)).state)
    expected = model.state_dict()
    problems: list[NegmergeError] = [
        MissingTensorError("is missing, and the recipe's model has it", path=path, tensor=name)
        for name in expected
        if name not in given
    ]
    problems += [
        UnexpectedTensorError("is no tensor of the recipe's model", path=path, tensor=name)
        for name in given
        if name not in expected
    ]
    problems += [
        ShapeMismatchError(
            f"has shape {list(given[name].shape)}, and in the recipe's model {list(tensor.shape)}",
            path=path,
            tensor=name,
        )
        for name, tensor in expected.items()
        if name in given and given[name].shape != tensor.shape
    ]
    raise_problems(problems)
    model.load_state_dict(given)
    return model.eval()
