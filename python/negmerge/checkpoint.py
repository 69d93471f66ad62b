"""Weights of a model to and from ``.safetensors`` files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from negmerge_ext.checkpoint import Checkpoint
from negmerge_ext.engine.snapshot import snapshot
from negmerge_ext.errors import (
    MissingTensorError,
    NegmergeError,
    ShapeMismatchError,
    UnexpectedTensorError,
    raise_problems,
    shortened,
)

from .errors import NonFiniteWeightsError
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


def check_fits(model: nn.Module, given: Checkpoint) -> None:
    """Look at the headers of a checkpoint of somebody else's.

    Raises :class:`~negmerge_ext.errors.InputError` with every tensor that is not as ``model`` has it.
    """
    expected = model.state_dict()
    problems: list[NegmergeError] = [
        MissingTensorError("is missing, and the recipe's model has it", path=given.path, tensor=name)
        for name in expected
        if name not in given.tensors
    ]
    problems += [
        UnexpectedTensorError("is no tensor of the recipe's model", path=given.path, tensor=name)
        for name in given.tensors
        if name not in expected
    ]
    problems += [
        ShapeMismatchError(
            f"has shape {list(given.tensors[name].shape)}, and in the recipe's model {list(tensor.shape)}",
            path=given.path,
            tensor=name,
        )
        for name, tensor in expected.items()
        if name in given.tensors and tuple(given.tensors[name].shape) != tuple(tensor.shape)
    ]
    raise_problems(problems)


def load_given(model: nn.Module, given: Checkpoint) -> nn.Module:
    """Give ``model`` the weights of a checkpoint that fits, in any format that ``negmerge_ext`` reads.

    Return it in eval mode. Raises what reading raises, and
    :class:`~negmerge.errors.NonFiniteWeightsError` with every tensor that is not finite throughout.
    """
    weights: dict[str, torch.Tensor] = dict(snapshot(given).state)
    model.load_state_dict(weights)
    problems = [
        NonFiniteWeightsError(
            f"has {bad:,} of {tensor.numel():,} elements that are NaN or infinite",
            path=given.path,
            tensor=name,
        )
        for name, tensor in model.state_dict().items()
        if (bad := tensor.numel() - int(tensor.isfinite().sum()))
    ]
    raise_problems(shortened(problems, given.path))
    return model.eval()
