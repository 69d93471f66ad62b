"""Tests that need an NVIDIA GPU; all are marked ``gpu`` and skip, with the reason, where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from negmerge_ext import native_cuda
from negmerge_ext.errors import DeviceError

_FOLDER = Path(__file__).parent


def _reason() -> str | None:
    """Why nothing can be tested here."""
    if not torch.cuda.is_available():
        return "torch finds no GPU"
    try:
        native_cuda.devices()
    except DeviceError as problem:
        return str(problem)
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if _FOLDER in item.path.parents]
    reason = _reason() if here else None
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))
