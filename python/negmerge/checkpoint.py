"""Weights of a model to and from ``.safetensors`` files."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

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
