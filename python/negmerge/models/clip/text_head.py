"""The classes of a data set as the text tower sees them: a linear layer that nothing trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from ...compute import Compute
from .clip import Clip

_BATCH = 256


class TextHead(nn.Module):
    """Logits ``[n, classes]`` of image embeddings ``[n, d]``: brought to length 1, these are multiplied with
    ``weight`` ``[classes, d]``. In float32 under autocast, too, which would round logits of up to 100 to
    halves.

    The weight is a buffer outside the state dict: no optimizer and no checkpoint ever sees it.
    """

    weight: torch.Tensor

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        with torch.autocast(embeddings.device.type, enabled=False):
            return functional.normalize(embeddings.float(), dim=-1) @ self.weight.T


def head_weights(clip: Clip, texts: Sequence[Sequence[str]], compute: Compute) -> torch.Tensor:
    """Float32 ``[classes, d]``, in memory, of texts ``[classes][templates]``.

    For each class the mean of its texts' embeddings of length 1, brought to length 1 and multiplied by the
    model's logit scale. Source: Radford et al., Learning Transferable Visual Models From Natural Language
    Supervision, ICML 2021.
    """
    flat = [text for of_class in texts for text in of_class]
    model = clip.model.to(compute.device).eval()
    with torch.no_grad():
        parts = [
            model.encode_text(clip.tokenize(flat[start : start + _BATCH]).to(compute.device), normalize=True)
            for start in range(0, len(flat), _BATCH)
        ]
        embeddings = torch.split(torch.cat(parts).float(), [len(of_class) for of_class in texts])
        means = torch.stack([functional.normalize(of_class.mean(dim=0), dim=0) for of_class in embeddings])
        weights: torch.Tensor = (means * model.logit_scale.exp()).cpu()
    return weights
