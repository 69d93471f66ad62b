"""Every operation against Pillow, by which the published pools were made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from negmerge.data.randaugment import OPERATIONS, randaugment
from PIL import Image, ImageEnhance, ImageOps

RANDOM = torch.Generator().manual_seed(0)
#: Levels of 8 bits; not all occur, and the channels differ.
IMAGES = torch.randint(20, 200, (4, 3, 16, 16), dtype=torch.uint8, generator=RANDOM)
IMAGES[:, 1] //= 2
MAGNITUDES = (0.0, 0.3, 0.55, 1.0)


def factor(share: float) -> float:
    return 0.1 + 1.8 * share


def solarize_add(image: Image.Image, share: float) -> Image.Image:
    add = int(110 * share)
    return image.point([min(255, level + add) if level < 128 else level for level in range(256)] * 3)


PILLOW: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "AutoContrast": lambda image, share: ImageOps.autocontrast(image),
    "Equalize": lambda image, share: ImageOps.equalize(image),
    "Invert": lambda image, share: ImageOps.invert(image),
    "Posterize": lambda image, share: Image.fromarray(
        np.asarray(image) & np.uint8(256 - (1 << (8 - int(4 * share))))
    ),
    "Solarize": lambda image, share: ImageOps.solarize(image, int(256 * share)),
    "SolarizeAdd": solarize_add,
    "Color": lambda image, share: ImageEnhance.Color(image).enhance(factor(share)),
    "Contrast": lambda image, share: ImageEnhance.Contrast(image).enhance(factor(share)),
    "Brightness": lambda image, share: ImageEnhance.Brightness(image).enhance(factor(share)),
    "Sharpness": lambda image, share: ImageEnhance.Sharpness(image).enhance(factor(share)),
}


def ours(name: str, share: float, sign: float = 1.0) -> torch.Tensor:
    count = len(IMAGES)
    changed = OPERATIONS[name](IMAGES.float() / 255, torch.full((count,), share), torch.full((count,), sign))
    assert 0 <= changed.min() <= changed.max() <= 1
    return changed * 255


@pytest.mark.parametrize("share", MAGNITUDES)
@pytest.mark.parametrize("name", PILLOW)
def test_colours_change_as_pillow_changes_them(name, share):
    found = ours(name, share)
    for pixels, changed in zip(IMAGES, found, strict=True):
        picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        wanted = torch.from_numpy(np.array(PILLOW[name](picture, share))).permute(2, 0, 1)
        # Pillow rounds in between: grey levels, and the factor's product.
        assert (changed - wanted.float()).abs().max() <= 2.0


@pytest.mark.parametrize(
    ("name", "share", "sign"), [("TranslateXRel", 0.5, 1.0), ("TranslateYRel", 0.5, -1.0)]
)
def test_moving_by_a_share_of_the_side(name, share, sign):
    # 0.45 × 0.5 of 40 pixels is 9 whole pixels.
    images = torch.rand(1, 3, 40, 40, generator=RANDOM)
    moved = OPERATIONS[name](images, torch.tensor([share]), torch.tensor([sign]))
    if name == "TranslateXRel":
        kept, wanted = moved[..., :, :-9], images[..., :, 9:]
        border = moved[..., :, -9:]
    else:
        kept, wanted = moved[..., 9:, :], images[..., :-9, :]
        border = moved[..., :9, :]
    torch.testing.assert_close(kept, wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(border, torch.full_like(border, 0.5), atol=1e-4, rtol=0)


def test_turning_by_thirty_degrees_is_pillows():
    picture = Image.fromarray(np.linspace(0, 255, 64 * 64).reshape(64, 64).astype(np.uint8))
    images = torch.from_numpy(np.array(picture))[None, None].float() / 255
    turned = OPERATIONS["Rotate"](images, torch.tensor([1.0]), torch.tensor([1.0]))[0, 0] * 255
    wanted = np.array(picture.rotate(30, Image.Resampling.BILINEAR, fillcolor=128), dtype=np.float32)
    inner = slice(16, 48)
    assert np.abs(turned.numpy() - wanted)[inner, inner].max() <= 2.0


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shearing_moves_each_line_in_proportion(name):
    images = torch.zeros(1, 1, 41, 41)
    images[..., 20, :] = 1  # the middle row, which ShearX leaves where it is
    across = images if name == "ShearX" else images.transpose(2, 3)
    changed = OPERATIONS[name](across, torch.tensor([1.0]), torch.tensor([1.0]))
    centre = changed[0, 0] if name == "ShearX" else changed[0, 0].T
    torch.testing.assert_close(centre[20, 10:31], torch.ones(21), atol=1e-4, rtol=0)
    column = torch.zeros(1, 1, 41, 41)
    column[..., :, 20] = 1
    line = column if name == "ShearX" else column.transpose(2, 3)
    sheared = OPERATIONS[name](line, torch.tensor([1.0]), torch.tensor([1.0]))
    lines = sheared[0, 0] if name == "ShearX" else sheared[0, 0].T
    inner = lines[10, 8:33]  # grey has moved in at the borders
    places = (inner * torch.arange(8, 33)).sum() / inner.sum()
    assert abs(abs(places.item() - 20) - 0.3 * 10) < 0.2


def test_the_generator_decides_and_images_differ():
    same = (IMAGES[:1].float() / 255).expand(64, -1, -1, -1)
    first, again, other = (
        randaugment(same, 2, 9.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({image.numpy().tobytes() for image in first}) > 16
    assert torch.equal(same, (IMAGES[:1].float() / 255).expand(64, -1, -1, -1)), "the input stays"


def test_half_of_the_operations_are_left_out():
    images = torch.rand(4000, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    changed = randaugment(images, 1, 5.0, torch.Generator().manual_seed(0))
    left = (changed == images).flatten(1).all(dim=1).float().mean()
    # Some operations leave an image as it is: colour of grey images, for one.
    assert 0.5 < left < 0.62


@pytest.mark.parametrize("channels", [1, 3])
def test_values_stay_in_range(channels):
    images = torch.rand(512, channels, 8, 8, generator=torch.Generator().manual_seed(1))
    changed = randaugment(images, 3, 10.0, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape
    assert 0 <= changed.min() <= changed.max() <= 1
