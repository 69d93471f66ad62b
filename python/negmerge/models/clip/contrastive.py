"""Training a model of images and text on labelled images: every class is told by its prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from ...data.examples import Examples
from ...data.training_batches import Batch
from ...recipe import Training
from .clip import Clip

#: Logits are cosines times at most this, as in CLIP.
_LARGEST_SCALE = math.log(100)


class PromptsContrastive:
    """Objective: an image is closer to its class's text than to those of all other classes of all data sets.

    In every step each class is told by one of its texts, drawn anew. It is the half of CLIP's loss that
    goes from images to texts, where texts that images share stand once: with few classes a batch would hold
    the same text many times.

    texts: ``[data sets][classes][templates]``.
    """

    def __init__(self, clip: Clip, texts: Sequence[Sequence[Sequence[str]]], device: torch.device) -> None:
        classes = [of_class for of_set in texts for of_class in of_set]
        self._tokens = [clip.tokenize(list(of_class)).to(device) for of_class in classes]
        self._starts = [sum(len(of_set) for of_set in texts[:place]) for place in range(len(texts))]
        self._input = clip.image_input().to(device)

    def __call__(
        self,
        model: Any,
        examples: Sequence[Examples],
        batches: Sequence[Batch],
        spec: Training,
        generator: torch.Generator,
    ) -> torch.Tensor:
        drawn = [int(torch.randint(len(tokens), (), generator=generator)) for tokens in self._tokens]
        told = [tokens[place] for tokens, place in zip(self._tokens, drawn, strict=True)]
        texts = model.encode_text(torch.stack(told), normalize=True)
        # All sets in one pass: BatchNorm sees what the model will be used on.
        pixels = torch.cat([self._input(batch.images) for batch in batches])
        images = model.encode_image(pixels, normalize=True)
        labels = torch.cat([batch.labels + self._starts[batch.source] for batch in batches])
        scale = model.logit_scale.clamp(max=_LARGEST_SCALE).exp()
        # Autocast would round logits of up to 100 to halves.
        with torch.autocast(images.device.type, enabled=False):
            logits = scale * images.float() @ texts.float().T
        return functional.cross_entropy(logits, labels, label_smoothing=spec.label_smoothing)
