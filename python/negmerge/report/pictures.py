"""Grad-CAM maps over their images, as pictures in the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from ..saliency import Saliency, SeenImage

#: Pixels of a picture's longer side at least, whatever the image has.
_SIDE = 144
_HEAT = 0.6
_QUALITY = 84


@dataclass(frozen=True, slots=True)
class Picture:
    """source: a data URI. alt: what it shows, in words. caption: below it; right: whether the model is."""

    source: str
    alt: str
    caption: str
    right: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """An image, and what every model sees in it."""

    image: SeenImage
    pictures: tuple[Picture, ...]


def strips(saliency: Saliency) -> list[Strip]:
    """A strip per image: the image alone, then under the map of each model."""
    return [_strip(saliency, place, image) for place, image in enumerate(saliency.images)]


def _strip(saliency: Saliency, place: int, image: SeenImage) -> Strip:
    pixels = _enlarged(saliency.pixels[place])
    shown = [Picture(_encoded(pixels), f"An image of {image.label}", "image", right=True)]
    for title, predicted, maps in zip(saliency.models, image.predictions, saliency.maps, strict=True):
        right = predicted == image.label
        shown.append(
            Picture(
                _encoded(_heated(pixels, maps[place])),
                f"Where {title} finds {image.label}; it predicts {predicted}",
                f"{title}: {predicted}",
                right,
            )
        )
    return Strip(image, tuple(shown))


def _enlarged(pixels: torch.Tensor) -> np.ndarray:
    """RGB ``[h, w, 3]`` in [0, 1]; small images keep their pixels visible."""
    factor = max(1, round(_SIDE / max(pixels.shape[1:])))
    large = pixels.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2).float() / 255
    rgb = large.expand(3, -1, -1) if len(large) == 1 else large[:3]
    return rgb.permute(1, 2, 0).numpy()


def _heated(pixels: np.ndarray, heat: torch.Tensor) -> np.ndarray:
    smooth = functional.interpolate(heat[None, None], size=pixels.shape[:2], mode="bilinear")[0, 0].clamp(
        0, 1
    )
    share = smooth.numpy()[..., None]
    grey = pixels.mean(axis=2, keepdims=True)
    colours = matplotlib.colormaps["inferno"](0.25 + 0.7 * share[..., 0])[..., :3]
    opacity = _HEAT * share**0.7
    return np.asarray((1 - opacity) * grey * 0.85 + opacity * colours)


def _encoded(picture: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray((255 * picture).round().clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
