"""A CLIP of a few thousand parameters beside its table of tokens, as a folder that open_clip loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

SIDE = 16
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def save_tiny_clip(folder: Path, *, seed: int = 0) -> Path:
    """Write ``folder`` and return it."""
    from open_clip.model import CLIP

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = CLIP(**{name: dict(of) if isinstance(of, dict) else of for name, of in CONFIG.items()})
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    described = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return folder
