"""RandAugment: some operations after each other, drawn for every image, of one magnitude.

Source: Cubuk et al., RandAugment, CVPR Workshops 2020, with the operations and ranges of timm's
``rand-m{m}-n{n}-mstd0.5``, which NegMerge's pools use: each of the n operations is left out with probability
1/2, and its magnitude is drawn from a normal distribution around m with deviation 0.5, within [0, 10]. All
images of a batch that drew the same operation are changed at once, on their device.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional

from ..devices import sent

#: What moves in where an image is turned, sheared or moved away: middle grey.
_GREY = 0.5
_DEVIATION, _HIGHEST = 0.5, 10.0
_LUMA = (0.299, 0.587, 0.114)
_LEVELS = 255

#: Changes float images [k, channels, height, width] in [0, 1] by magnitudes [k] in [0, 1], with signs [k] ±1
#: for what has a direction.
_Operation = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def randaugment(
    images: torch.Tensor, count: int, magnitude: float, generator: torch.Generator
) -> torch.Tensor:
    """``count`` operations of ``magnitude`` in [0, 10] on every image.

    images: float ``[n, channels, height, width]`` in [0, 1], on any device; generator: the CPU's.
    """
    for _ in range(count):
        which = torch.randint(len(OPERATIONS), (len(images),), generator=generator)
        which[torch.rand(len(images), generator=generator) < 0.5] = -1
        drawn = magnitude + _DEVIATION * torch.randn(len(images), generator=generator)
        share = (drawn / _HIGHEST).clamp(0, 1)
        sign = torch.randint(2, (len(images),), generator=generator) * 2.0 - 1
        changed = images.clone()
        for number, operation in enumerate(OPERATIONS.values()):
            chosen = torch.nonzero(which == number).squeeze(1)
            if len(chosen):
                at, strength, way = (
                    sent(one, images.device)
                    for one in (chosen, share[chosen].to(images.dtype), sign[chosen].to(images.dtype))
                )
                changed[at] = operation(images[at], strength, way)
        images = changed
    return images


def _column(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None]


def _grey(images: torch.Tensor) -> torch.Tensor:
    """Luminance ``[k, 1, height, width]``."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def _blended(images: torch.Tensor, away: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
    """From ``away`` (factor 0) through the image (1) and beyond; factors reach from 0.1 to 1.9."""
    return (away + _column(0.1 + 1.8 * magnitude) * (images - away)).clamp(0, 1)


def _auto_contrast(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    stretched = (images - low) / (high - low).clamp(min=1 / _LEVELS)
    return torch.where(high > low, stretched, images)


def _equalize(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    levels = (images * _LEVELS).round().long().flatten(2).flatten(0, 1)
    histogram = torch.zeros(len(levels), _LEVELS + 1, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    # As Pillow does: pixels of the brightest level that occurs are not shared out.
    brightest = levels.amax(dim=1, keepdim=True)
    step = (levels.shape[1] - histogram.gather(1, brightest)) // _LEVELS
    before = histogram.cumsum(dim=1) - histogram
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=_LEVELS)
    equalized = torch.where(step > 0, table.gather(1, levels), levels)
    return (equalized.to(images.dtype) / _LEVELS).view_as(images)


def _invert(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return 1 - images


def _posterize(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    """Keep the highest 0 to 4 bits of 8."""
    step = 2 ** (8 - _column((4 * magnitude).floor()))
    return ((images * _LEVELS).round() / step).floor() * step / _LEVELS


def _solarize(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    threshold = _column((256 * magnitude).floor()) / _LEVELS
    return torch.where(images < threshold, images, 1 - images)


def _solarize_add(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    brighter = (images + _column((110 * magnitude).floor()) / _LEVELS).clamp(max=1)
    return torch.where(images < 128 / _LEVELS, brighter, images)


def _color(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return _blended(images, _grey(images), magnitude)


def _contrast(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return _blended(images, _grey(images).mean(dim=(2, 3), keepdim=True), magnitude)


def _brightness(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    return _blended(images, torch.zeros_like(images), magnitude)


def _sharpness(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    channels = images.shape[1]
    kernel = torch.ones(3, 3, device=images.device, dtype=images.dtype)
    kernel[1, 1] = 5
    smooth = images.clone()
    smooth[:, :, 1:-1, 1:-1] = functional.conv2d(
        images, (kernel / kernel.sum()).expand(channels, 1, 3, 3), groups=channels
    )
    return _blended(images, smooth, magnitude)


def _rotate(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    turn = math.radians(30) * magnitude * sign
    cosine, sine, nothing = turn.cos(), turn.sin(), torch.zeros_like(turn)
    return _moved(images, ((cosine, -sine, nothing), (sine, cosine, nothing)))


def _shear_x(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    one, nothing = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _moved(images, ((one, 0.3 * magnitude * sign, nothing), (nothing, one, nothing)))


def _shear_y(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    one, nothing = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _moved(images, ((one, nothing, nothing), (0.3 * magnitude * sign, one, nothing)))


def _translate_x(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    one, nothing = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _moved(images, ((one, nothing, 0.9 * magnitude * sign), (nothing, one, nothing)))


def _translate_y(images: torch.Tensor, magnitude: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    one, nothing = torch.ones_like(magnitude), torch.zeros_like(magnitude)
    return _moved(images, ((one, nothing, nothing), (nothing, one, 0.9 * magnitude * sign)))


def _moved(images: torch.Tensor, rows: tuple[tuple[torch.Tensor, ...], ...]) -> torch.Tensor:
    matrices = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1).to(images)
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(images - _GREY, grid, align_corners=False) + _GREY


#: By timm's names.
OPERATIONS: dict[str, _Operation] = {
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
    "Invert": _invert,
    "Rotate": _rotate,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _color,
    "Contrast": _contrast,
    "Brightness": _brightness,
    "Sharpness": _sharpness,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateXRel": _translate_x,
    "TranslateYRel": _translate_y,
}
