"""Checkpoints to work on, and two ways to call the command line: in this process, and in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

Run = Callable[..., subprocess.CompletedProcess[str]]


def tensors(seed: int, base: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """A base of two layers, or one that was fine-tuned from it: some elements move alike in all of them."""
    random = np.random.default_rng(seed)
    shapes = {
        "h.0.weight": (24, 16),
        "h.0.bias": (24,),
        "h.1.weight": (8, 24),
        "lm_head.weight": (8, 8),
    }
    if base is None:
        start = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
        return start | {"steps": np.array([7], np.int64)}
    shared = np.random.default_rng(99)
    moved = {
        name: base[name]
        + 0.1 * shared.standard_normal(shape, np.float32)
        + 0.1 * random.standard_normal(shape, np.float32)
        for name, shape in shapes.items()
    }
    return {name: tensor.astype(np.float32) for name, tensor in moved.items()} | {
        "steps": np.array([9], np.int64)
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with ``base.safetensors`` and ``pool/0.safetensors`` … ``pool/2.safetensors``."""
    monkeypatch.chdir(tmp_path)
    base = tensors(0)
    (tmp_path / "pool").mkdir()
    save_file(base, tmp_path / "base.safetensors", metadata={"format": "pt"})
    for model in range(3):
        save_file(tensors(model + 1, base), tmp_path / "pool" / f"{model}.safetensors")
    return tmp_path


@pytest.fixture
def pool(folder: Path) -> list[str]:
    """The base and the pool, as arguments."""
    return ["base.safetensors", *(f"pool/{model}.safetensors" for model in range(3))]


@pytest.fixture
def negmerge() -> Run:
    """Run ``negmerge`` with these arguments in a process of its own."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "negmerge", *map(str, arguments)]
        return subprocess.run(  # type: ignore[call-overload]
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, **options
        )

    return run


@pytest.fixture
def invoke(capfd: pytest.CaptureFixture[str]) -> Run:
    """The same in this process: faster, and what it prints is captured."""
    from negmerge.cli.app import app

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            app(args=[str(argument) for argument in arguments], prog_name="negmerge")
        printed = capfd.readouterr()
        code = stopped.value.code
        assert code is None or isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code or 0, printed.out, printed.err)

    return call
